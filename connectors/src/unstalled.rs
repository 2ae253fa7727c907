//! A connection that takes nothing for a while is broken: what waits in it would wait for ever, and could still go out long after its call
//! was broken off.

use std::{
    io::{Error, ErrorKind, IoSlice},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::time::Sleep;

/// How long a server may read nothing while something waits to be written to it.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection that breaks where it stalls.
pub(crate) struct Unstalled<C> {
    inner: C,
    /// Since when nothing could be written; there only while that is so.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<C> Unstalled<C> {
    pub(crate) fn new(inner: C) -> Self {
        Self { inner, stalled: None }
    }

    /// What comes of a try to write, in the end.
    fn judge<T>(&mut self, tried: Poll<Result<T, Error>>, context: &mut Context<'_>) -> Poll<Result<T, Error>> {
        if tried.is_ready() {
            self.stalled = None;
            return tried;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(PATIENCE)));
        stalled
            .as_mut()
            .poll(context)
            .map(|()| Err(Error::new(ErrorKind::TimedOut, "the server does not read what is sent to it")))
    }
}

impl<C: Write + Unpin> Write for Unstalled<C> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, Error>> {
        let tried = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.judge(tried, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let tried = Pin::new(&mut self.inner).poll_flush(context);
        self.judge(tried, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let tried = Pin::new(&mut self.inner).poll_shutdown(context);
        self.judge(tried, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize, Error>> {
        let tried = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.judge(tried, context)
    }
}

impl<C: Read + Unpin> Read for Unstalled<C> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<Result<(), Error>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<C: Connection> Connection for Unstalled<C> {
    fn connected(&self) -> Connected {
        self.inner.connected()
    }
}
