//! Sockets as the engine wants them: never blocking, closed on exec, without Nagle's delay.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrAny, SocketFlags, SocketType, acceptfrom_with, bind, connect, listen,
    socket_with, sockopt,
};

/// Connections that the kernel keeps for us until we accept them.
const BACKLOG: i32 = 4096;

/// A listening socket.
///
/// # Errors
/// When the address cannot be bound.
pub(crate) fn listening(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = stream(&address)?;
    // A restart must not wait for connections of the last run that linger in TIME_WAIT.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// The next connection of a listening socket, and who it is.
///
/// # Errors
/// `WouldBlock` when there is none.
pub(crate) fn accept(listening: impl AsFd) -> Result<(OwnedFd, SocketAddr), Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (socket, remote) = acceptfrom_with(listening, flags)?;
    // Only a delay is lost when this fails.
    let _ = sockopt::set_tcp_nodelay(&socket, true);
    let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
    let remote = remote.and_then(|any: SocketAddrAny| SocketAddr::try_from(any).ok());
    Ok((socket, remote.unwrap_or(unknown)))
}

/// Starts to connect to `address`, from `source` where it is of the same family. It is done when the
/// socket is writable; `socket_error` then says how it went.
///
/// # Errors
/// When it failed at once.
pub(crate) fn connecting(address: SocketAddr, source: Option<IpAddr>) -> io::Result<OwnedFd> {
    let socket = stream(&address)?;
    if let Some(source) = source.filter(|source| source.is_ipv4() == address.is_ipv4()) {
        // The port is chosen by connect, so that connections to different endpoints can share one.
        // Where the kernel does not know the option, the port is merely chosen now.
        let _ = setsockopt(&socket, IpBindAddressNoPort, &true);
        bind(&socket, &SocketAddr::new(source, 0))?;
    }
    match connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}

fn stream(address: &SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    Ok(socket)
}
