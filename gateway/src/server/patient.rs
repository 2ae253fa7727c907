//! A stream that waits for its reader, but not for ever: a write that gets nowhere for too long ends the connection, and with
//! it the memory of the answers that nobody reads.

use std::{
    future::Future as _,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

/// A stream whose writes fail once none got on for so long. Its reads wait as they did.
#[derive(Debug)]
pub(super) struct Patient<S> {
    stream: S,
    writing: Patience,
    ending: Patience,
}

impl<S> Patient<S> {
    /// Waits for the reader of this stream for `limit` at a time.
    pub(super) fn new(stream: S, limit: Duration) -> Self {
        let fresh = || Patience { limit, waiting: None };
        Self { stream, writing: fresh(), ending: fresh() }
    }
}

#[derive(Debug)]
struct Patience {
    limit: Duration,
    /// Set while nothing gets on.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    fn watch<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.waiting = None;
            return polled;
        }
        let limit = self.limit;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(waiting.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "nobody reads what is written")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.writing.watch(cx, polled)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.writing.watch(cx, polled)
    }

    // As the stream: then the server keeps an answer's bytes as they are, and lets go of each as it is written.
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.ending.watch(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.ending.watch(cx, polled)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        time::{sleep, timeout},
    };

    use super::*;

    #[tokio::test]
    async fn a_write_that_nobody_reads_fails() {
        let (_reader, stream) = tokio::io::duplex(16);
        let mut stream = Patient::new(stream, Duration::from_millis(20));
        let written = timeout(Duration::from_secs(10), stream.write_all(&[0; 17])).await.unwrap();
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_slow_reader_is_waited_for() {
        let limit = Duration::from_millis(400);
        let (mut reader, stream) = tokio::io::duplex(16);
        let mut stream = Patient::new(stream, limit);
        let writing = tokio::spawn(async move { stream.write_all(&[7; 16 * 6]).await });
        // Longer than the limit in all, and each step well within it.
        for _ in 0..6 {
            sleep(limit / 4).await;
            reader.read_exact(&mut [0; 16]).await.unwrap();
        }
        writing.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn reads_wait_as_long_as_they_must() {
        let limit = Duration::from_millis(10);
        let (mut writer, stream) = tokio::io::duplex(16);
        let mut stream = Patient::new(stream, limit);
        let reading = tokio::spawn(async move { stream.read_u8().await });
        sleep(limit * 5).await;
        writer.write_u8(9).await.unwrap();
        assert_eq!(reading.await.unwrap().unwrap(), 9);
    }
}
