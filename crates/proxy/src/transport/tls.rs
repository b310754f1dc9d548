//! TLS by rustls behind the byte stream seam.

use std::io::{self, Read, Write};
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};

use super::Transport;

/// Plaintext that rustls may hold until the socket takes its records.
const HELD_BYTES: usize = 64 << 10;

/// TLS on one connection, either side.
pub struct Tls {
    session: Connection,
    /// Plaintext is ready although the socket has nothing.
    more: bool,
    ended: bool,
}

/// The side that accepted.
///
/// # Errors
/// When the configuration cannot be used.
pub fn server(config: Arc<ServerConfig>) -> Result<Tls, rustls::Error> {
    Ok(Tls::new(ServerConnection::new(config)?.into()))
}

/// The side that connected; the certificate has to be for `name`.
///
/// # Errors
/// When the configuration cannot be used.
pub fn client(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Tls, rustls::Error> {
    Ok(Tls::new(ClientConnection::new(config, name)?.into()))
}

impl Tls {
    fn new(mut session: Connection) -> Self {
        session.set_buffer_limit(Some(HELD_BYTES));
        Self {
            session,
            more: false,
            ended: false,
        }
    }

    /// Reads the plaintext that is there; how many bytes.
    fn drain(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < into.len() {
            match self.session.reader().read(&mut into[filled..]) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // The peer left without a close_notify: an end like a FIN, since every frame
                // says where it ends.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    self.ended = true;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

impl Transport for Tls {
    fn receive(&mut self, socket: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<usize> {
        let mut filled = self.drain(into)?;
        let mut blocked = false;
        while !blocked && !self.ended && filled < into.len() {
            match self.session.read_tls(&mut Socket(socket)) {
                Ok(0) => self.ended = true,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => blocked = true,
                Err(error) => return Err(error),
            }
            if let Err(error) = self.session.process_new_packets() {
                // The alert that says why; the connection is over either way.
                let _ = self.session.write_tls(&mut Socket(socket));
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
            filled += self.drain(&mut into[filled..])?;
        }
        self.more = filled == into.len();
        if filled == 0 && !self.ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(filled)
    }

    fn send(&mut self, socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.session.writer().write(bytes)?;
        self.flush(socket)?;
        if taken == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(taken)
    }

    fn flush(&mut self, socket: BorrowedFd<'_>) -> io::Result<bool> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut Socket(socket)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    fn has_more(&self) -> bool {
        self.more
    }

    fn end(&mut self, socket: BorrowedFd<'_>) {
        self.session.send_close_notify();
        // A peer that is gone already needs no notice.
        let _ = self.flush(socket);
    }
}

struct Socket<'a>(BorrowedFd<'a>);

impl Read for Socket<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        Ok(recv(self.0, into, RecvFlags::empty())?.0)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(send(self.0, bytes, SendFlags::NOSIGNAL)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
