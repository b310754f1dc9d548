//! The byte stream seam: how bytes get from and to a socket.
//!
//! A plain connection has no transport and goes straight to the kernel. TLS sits behind [`Transport`],
//! its handshake included: the rest of the engine sees bytes, "not yet" and the end, the same for both.

pub mod tls;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

/// Says which connections are not plain.
pub trait Transports: Send + Sync {
    /// For a connection that `listener` accepted; None: plain.
    fn downstream(&self, listener: &str) -> Option<Box<dyn Transport>>;

    /// For a connection to an endpoint of `cluster`; None: plain.
    fn upstream(&self, cluster: &str, address: SocketAddr) -> Option<Box<dyn Transport>>;
}

/// What lies between the engine and a socket that never blocks.
pub trait Transport: Send {
    /// Reads into `into`: the number of bytes, 0 at the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there yet, anything else when the connection broke.
    fn receive(&mut self, socket: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<usize>;

    /// Takes bytes from the front of `bytes`: how many.
    ///
    /// # Errors
    /// `WouldBlock` when it takes none now, anything else when the connection broke.
    fn send(&mut self, socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize>;

    /// Writes what it holds back itself (handshake, records); true when nothing is left.
    ///
    /// # Errors
    /// When the connection broke.
    fn flush(&mut self, socket: BorrowedFd<'_>) -> io::Result<bool>;

    /// Whether the handshake is still going on; nothing was sent to the peer's application yet.
    fn handshaking(&self) -> bool;

    /// Whether [`Transport::receive`] has bytes that the socket will not report.
    fn has_more(&self) -> bool;

    /// Tells the peer that no more bytes come.
    fn end(&mut self, socket: BorrowedFd<'_>);
}

/// A socket with what lies before it.
pub(crate) struct Stream {
    socket: OwnedFd,
    transport: Option<Box<dyn Transport>>,
}

impl Stream {
    pub(crate) const fn new(socket: OwnedFd, transport: Option<Box<dyn Transport>>) -> Self {
        Self { socket, transport }
    }

    pub(crate) const fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    #[inline]
    pub(crate) fn receive(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &mut self.transport {
            None => Ok(recv(&self.socket, into, RecvFlags::empty())?.0),
            Some(transport) => transport.receive(self.socket.as_fd(), into),
        }
    }

    #[inline]
    /// `last`: [`Stream::end`] follows, and the bytes may wait for it.
    pub(crate) fn send(&mut self, bytes: &[u8], last: bool) -> io::Result<usize> {
        match &mut self.transport {
            None => {
                let mut flags = SendFlags::NOSIGNAL;
                flags.set(SendFlags::MORE, last);
                Ok(send(&self.socket, bytes, flags)?)
            }
            Some(transport) => transport.send(self.socket.as_fd(), bytes),
        }
    }

    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        match &mut self.transport {
            None => Ok(true),
            Some(transport) => transport.flush(self.socket.as_fd()),
        }
    }

    pub(crate) const fn is_plain(&self) -> bool {
        self.transport.is_none()
    }

    pub(crate) fn handshaking(&self) -> bool {
        self.transport
            .as_ref()
            .is_some_and(|transport| transport.handshaking())
    }

    pub(crate) fn has_more(&self) -> bool {
        self.transport
            .as_ref()
            .is_some_and(|transport| transport.has_more())
    }

    /// Ends our direction; the other one goes on.
    pub(crate) fn end(&mut self) {
        if let Some(transport) = &mut self.transport {
            transport.end(self.socket.as_fd());
        }
        // A peer that is gone already needs no FIN.
        let _ = shutdown(&self.socket, Shutdown::Write);
    }
}
