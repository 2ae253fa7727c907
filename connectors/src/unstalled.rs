//! A connection that takes nothing for a while, or takes for ever, is broken: what waits in it could still go out long after its call was
//! broken off. So is one that is told to be.

use std::{
    io::{Error, ErrorKind, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::task::AtomicWaker;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::time::{Instant, Sleep};

/// How long a server may read nothing while something waits to be written to it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long something may wait in all, however slowly it goes on.
const AT_MOST: Duration = Duration::from_mins(1);

/// A connection that breaks where it stalls.
pub(crate) struct Unstalled<C> {
    inner: C,
    /// Since when nothing could be written; there only while that is so.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Since when something waits to be written.
    waits: Option<Instant>,
    breaker: Breaker,
}

/// Breaks a connection from outside: it comes with every answer that was read from the connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Breaker(Arc<Broken>);

#[derive(Debug, Default)]
struct Broken {
    is_broken: AtomicBool,
    reader: AtomicWaker,
}

impl Breaker {
    /// Breaks the connection: nothing more is written to it.
    pub(crate) fn break_off(&self) {
        self.0.is_broken.store(true, Ordering::Release);
        self.0.reader.wake();
    }

    fn check(&self) -> Result<(), Error> {
        if self.0.is_broken.load(Ordering::Acquire) {
            return Err(Error::new(
                ErrorKind::ConnectionAborted,
                "it was broken off: what waited to be written is wanted no more",
            ));
        }
        Ok(())
    }
}

impl<C> Unstalled<C> {
    pub(crate) fn new(inner: C) -> Self {
        Self { inner, stalled: None, waits: None, breaker: Breaker::default() }
    }

    /// What comes of a try to write, in the end.
    fn judge<T>(&mut self, tried: Poll<Result<T, Error>>, context: &mut Context<'_>) -> Poll<Result<T, Error>> {
        self.breaker.check()?;
        if tried.is_ready() {
            self.stalled = None;
            return tried;
        }
        let unread = || Error::new(ErrorKind::TimedOut, "the server does not read what is sent to it");
        if self.waits.get_or_insert_with(Instant::now).elapsed() > AT_MOST {
            return Poll::Ready(Err(unread()));
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(PATIENCE)));
        stalled.as_mut().poll(context).map(|()| Err(unread()))
    }
}

impl<C: Write + Unpin> Write for Unstalled<C> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, Error>> {
        let tried = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.judge(tried, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let tried = Pin::new(&mut self.inner).poll_flush(context);
        let flushed = self.judge(tried, context);
        if let Poll::Ready(Ok(())) = flushed {
            self.waits = None;
        }
        flushed
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
        // Registered first, asked second: whoever breaks it in between wakes this.
        self.breaker.0.reader.register(context.waker());
        self.breaker.check()?;
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<C: Connection> Connection for Unstalled<C> {
    fn connected(&self) -> Connected {
        self.inner.connected().extra(self.breaker.clone())
    }
}
