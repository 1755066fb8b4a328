//! `check` on how a server is reached: encrypted or not, asking for a password or not, from here or from elsewhere.

use std::net::{IpAddr, UdpSocket};

use crate::kit::{NEWEST, VERSIONS, shows};
use crate::process::{Done, run, run_with};
use crate::support::{Server, auth, tls};

/// An address of this machine that is none of the loopback: that a datagram elsewhere would be sent from. None is sent.
fn outside() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("203.0.113.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip())
}

fn findings(done: &Done) -> Vec<&str> {
    let named = |line: &&str| [" tls: ", " auth: "].iter().any(|check| line.contains(check));
    done.out.lines().filter(named).collect()
}

/// A server that listens on all addresses.
fn open(version: &str, config: &str) -> Server {
    let mut server = Server::builder().version(version).start();
    // The last line counts; the port stays the one that is kept for it.
    server.reload(&format!("listen: \"0.0.0.0:{}\"\n{config}", server.port()));
    server.restart();
    server
}

#[test]
fn an_open_server_is_criticised_where_others_reach_it() {
    let Some(address) = outside() else {
        panic!("this machine has no address but the loopback: what is said of other addresses cannot be tested");
    };
    for version in VERSIONS {
        let server = open(version, "");
        let url = format!("nats://{address}:{}", server.port());
        let done = run(&["check", "--sample", "0s", "--nats", &url]);
        let told = findings(&done);
        assert_eq!(told.len(), 2, "{done:#?}");
        assert!(told[0].starts_with(&format!("WARNING  tls: {url}: ")), "{told:?}");
        assert!(told[1].starts_with(&format!("WARNING  auth: {url}: the server asks nobody who they are")), "{told:?}");
        // From here it looks closed, and its own page says that it is not.
        let done = run(&["check", "--sample", "0s", "--nats", &server.url()]);
        assert_eq!(findings(&done).len(), 0, "{done:#?}");
        let done = run(&["check", "--sample", "0s", "--nats", &server.url(), "--monitor", &server.monitor_url()]);
        assert_eq!(findings(&done).len(), 2, "{done:#?}");
        shows(&done, " nats://0.0.0.0:");
    }
}

#[test]
fn a_server_that_asks_is_not_told_to_ask() {
    let address = outside().expect("an address but the loopback");
    let server = open(NEWEST, &auth::password_config());
    let url = format!("nats://{address}:{}", server.port());
    let env = [
        ("DATA_MANAGER__TRANSPORT__NATS__USER", auth::USER),
        ("DATA_MANAGER__TRANSPORT__NATS__PASSWORD", auth::PASSWORD),
    ];
    let done = run_with(&["check", "--sample", "0s", "--nats", &url], &env, "");
    assert_eq!(findings(&done).len(), 1, "{done:#?}");
    shows(&done, "WARNING  tls: ");
    // Who says nothing is not let in, which is critical.
    let done = run(&["check", "--sample", "0s", "--nats", &url]).expect_code(2);
    shows(&done, "CRITICAL connection: ");
}

#[test]
fn an_encrypted_way_is_not_criticised() {
    let pki = tls::Pki::generate();
    let server = open(NEWEST, &format!("{}\n{}", pki.tls_config(), auth::password_config()));
    let ca = pki.ca();
    let env = [
        ("DATA_MANAGER__TRANSPORT__NATS__USER", auth::USER),
        ("DATA_MANAGER__TRANSPORT__NATS__PASSWORD", auth::PASSWORD),
        ("DATA_MANAGER__TRANSPORT__NATS__TLS__CA", ca.to_str().unwrap()),
    ];
    let url = format!("tls://localhost:{}", server.port());
    let done = run_with(&["check", "--sample", "0s", "--nats", &url, "--monitor", &server.monitor_url()], &env, "");
    assert_eq!(findings(&done).len(), 0, "{done:#?}");
    shows(&done, "nats-server 2.15.1 at tls://localhost:");
}
