//! Ports that stay ours while no server listens on them, so that a restarted server gets its own port back.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};

/// A port of 127.0.0.1, kept from every other test (of any process) until it is dropped.
///
/// It lies below the range from which the kernel gives ports away, so only another server started on purpose could
/// take it; those of the tests ask here, and here an abstract socket named after the port says that it is taken.
pub struct Reserved {
    port: u16,
    _hold: UnixListener,
}

impl Reserved {
    /// Any free port.
    pub fn any() -> Self {
        (0..1_000)
            .find_map(|_| Self::try_new(fastrand::u16(12_000..32_000)))
            .expect("1,000 ports were tried, none of them is free")
    }

    /// This port and no other.
    pub fn fixed(port: u16) -> Self {
        Self::try_new(port).unwrap_or_else(|| panic!("port {port} is taken"))
    }

    fn try_new(port: u16) -> Option<Self> {
        let name = SocketAddr::from_abstract_name(format!("data-manager-test-port-{port}")).unwrap();
        let hold = UnixListener::bind_addr(&name).ok()?;
        TcpListener::bind(("127.0.0.1", port)).ok()?;
        Some(Self { port, _hold: hold })
    }

    pub const fn get(&self) -> u16 {
        self.port
    }
}
