//! Connecting to NATS: servers, one way of authentication, TLS.
//!
//! It dials once; waiting and trying again is for those who call. What the server refuses is told in the words of the
//! configuration. It knows nothing of streams.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use async_nats::{ConnectErrorKind, ConnectOptions, Event};
use secrecy::ExposeSecret as _;

use crate::config::settings::Nats;
use crate::config::{Secret, SecretError};

/// TCP, TLS and the NATS handshake with one server, together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Commands besides a window of publishes.
const CLIENT_SPARE: usize = 256;

/// A server that does not answer two pings is gone.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The settings cannot be used.
    #[error("transport.nats: {message}")]
    Settings {
        /// What is wrong, and what would do.
        message: String,
    },
    /// A secret cannot be read.
    #[error("transport.nats.{key}: {source}")]
    Secret {
        /// The key.
        key: &'static str,
        /// Why.
        source: SecretError,
    },
    /// A file cannot be read.
    #[error("transport.nats.{key}: {path}: {source}")]
    File {
        /// The key.
        key: &'static str,
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// No server answered, or it refused.
    #[error("{servers}: {reason}")]
    Refused {
        /// The servers that were tried.
        servers: String,
        /// What went wrong, and what to look at.
        reason: String,
    },
}

/// How a client proves who it is. At most one way may be configured.
enum Auth<'a> {
    None,
    Token(&'a Secret),
    User(&'a str, Option<&'a Secret>),
    Nkey(&'a Secret),
    Jwt(&'a Secret, &'a Secret),
    Credentials(&'a Path),
}

/// Checks what can be checked without a server: that servers are named properly and that one way of authentication is
/// configured at most, whole.
///
/// # Errors
/// [`ConnectError::Settings`], naming the key.
pub fn check(settings: &Nats) -> Result<(), ConnectError> {
    let refuse = |message: String| Err(ConnectError::Settings { message });
    if settings.servers.is_empty() {
        return refuse("servers is empty; name at least one, as in \"nats://localhost:4222\"".to_owned());
    }
    for server in &settings.servers {
        let rest = server.split_once("://").map_or(server.as_str(), |(_, rest)| rest);
        if rest.contains('@') {
            return refuse(
                "servers: a URL holds a user or password; give them as user and password, token or credentials, so \
                 that they are never logged"
                    .to_owned(),
            );
        }
        if let Err(error) = server.parse::<async_nats::ServerAddr>() {
            return refuse(format!(
                "servers: {server:?} is no NATS URL ({error}); write nats://host:4222 or tls://host"
            ));
        }
    }
    if settings.tls.cert.is_some() != settings.tls.key.is_some() {
        return refuse("tls.cert and tls.key go together; one of them is missing".to_owned());
    }
    auth(settings).map(drop)
}

/// Dials once, on a connection that nothing else uses, without hearing of its events.
///
/// # Errors
/// [`ConnectError`] when no server can be reached or used.
pub async fn dial(settings: &Nats) -> Result<async_nats::Client, ConnectError> {
    dial_with(settings, |_| {}).await
}

/// Dials once; `on_event` hears what happens to the connection afterwards. It must not block.
///
/// # Errors
/// As [`dial`].
pub async fn dial_with(
    settings: &Nats,
    on_event: impl Fn(Event) + Send + Sync + 'static,
) -> Result<async_nats::Client, ConnectError> {
    check(settings)?;
    // Several providers may be linked in; the first dial settles which one is meant. It may be settled already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let options = authenticated(settings)?
        .name(&settings.name)
        .custom_inbox_prefix(&settings.inbox_prefix)
        .connection_timeout(CONNECT_TIMEOUT)
        .ping_interval(PING_INTERVAL)
        // Subjects are made by us, of escaped tokens; the prefixes in them are checked with the settings.
        .skip_subject_validation(true)
        // A whole window fits, so that a publish never waits for the socket.
        .client_capacity(settings.window + CLIENT_SPARE)
        // A first round over all servers, and as little life of its own after a loss as it can have. What it had
        // buffered may still come late: the window is made for that.
        .max_reconnects(settings.servers.len())
        .event_callback(move |event| {
            on_event(event);
            std::future::ready(())
        });
    let options = secured(settings, options)?;
    let servers = settings.servers.join(",");
    match options.connect(&settings.servers).await {
        Ok(client) => Ok(client),
        Err(error) => Err(ConnectError::Refused { reason: reason(&error, settings), servers }),
    }
}

/// A name of its own for a consumer that nothing remembers. Without one it would be asked for on a subject that says
/// nothing of it, which a user may not have who has to leave the consumers of others alone.
pub(super) fn consumer_name(client: &async_nats::Client) -> String {
    let unique = client.new_inbox();
    format!("data-manager-{}", unique.rsplit('.').next().unwrap_or_default())
}

fn auth(settings: &Nats) -> Result<Auth<'_>, ConnectError> {
    let refuse = |message: &str| Err(ConnectError::Settings { message: message.to_owned() });
    let mut ways = Vec::new();
    if let Some(token) = &settings.token {
        ways.push(("token", Auth::Token(token)));
    }
    if let Some(user) = &settings.user {
        ways.push(("user", Auth::User(user, settings.password.as_ref())));
    } else if settings.password.is_some() {
        return refuse("password is given without user");
    }
    if let Some(seed) = &settings.nkey {
        ways.push(("nkey", Auth::Nkey(seed)));
    }
    match (&settings.jwt, &settings.seed) {
        (Some(jwt), Some(seed)) => ways.push(("jwt", Auth::Jwt(jwt, seed))),
        (None, None) => {}
        (Some(_), None) => return refuse("jwt needs seed, which signs the server's challenge"),
        (None, Some(_)) => return refuse("seed is given without jwt; a bare NKey goes into nkey"),
    }
    if let Some(path) = &settings.credentials {
        ways.push(("credentials", Auth::Credentials(path)));
    }
    if ways.len() > 1 {
        let names: Vec<&str> = ways.iter().map(|(name, _)| *name).collect();
        return Err(ConnectError::Settings {
            message: format!("{} are all set; authentication goes one way, keep one of them", names.join(" and ")),
        });
    }
    Ok(ways.pop().map_or(Auth::None, |(_, auth)| auth))
}

fn authenticated(settings: &Nats) -> Result<ConnectOptions, ConnectError> {
    let options = ConnectOptions::new();
    let reveal = |key: &'static str, secret: &Secret| {
        let text = secret.reveal().map_err(|source| ConnectError::Secret { key, source })?;
        Ok::<String, ConnectError>(text.expose_secret().to_owned())
    };
    let creds = |key: &'static str, options: ConnectOptions, text: &str| {
        options.credentials(text).map_err(|_| ConnectError::Settings {
            message: format!("{key} holds no user JWT with its seed in the credentials format"),
        })
    };
    Ok(match auth(settings)? {
        Auth::None => options,
        Auth::Token(token) => options.token(reveal("token", token)?),
        Auth::User(user, password) => {
            let password = password.map(|secret| reveal("password", secret)).transpose()?;
            options.user_and_password(user.to_owned(), password.unwrap_or_default())
        }
        Auth::Nkey(seed) => {
            let seed = reveal("nkey", seed)?;
            if !seed.starts_with("SU") {
                return Err(ConnectError::Settings {
                    message: "nkey holds no user seed; it begins with SU (a public key begins with U)".to_owned(),
                });
            }
            options.nkey(seed)
        }
        Auth::Jwt(jwt, seed) => {
            let (jwt, seed) = (reveal("jwt", jwt)?, reveal("seed", seed)?);
            let text = format!(
                "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
                 -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
            );
            creds("jwt", options, &text)?
        }
        Auth::Credentials(path) => {
            let text = read("credentials", path)?;
            creds("credentials", options, &text)?
        }
    })
}

fn secured(settings: &Nats, mut options: ConnectOptions) -> Result<ConnectOptions, ConnectError> {
    let tls = &settings.tls;
    if let Some(path) = &tls.ca {
        read("tls.ca", path)?;
        options = options.add_root_certificates(path.clone());
    }
    if let (Some(cert), Some(key)) = (&tls.cert, &tls.key) {
        read("tls.cert", cert)?;
        read("tls.key", key)?;
        options = options.add_client_certificate(cert.clone(), key.clone());
    }
    if tls.required {
        options = options.require_tls(true);
    }
    Ok(options)
}

/// Reads a small file, so that a missing one is told with its key.
fn read(key: &'static str, path: &Path) -> Result<String, ConnectError> {
    std::fs::read_to_string(path).map_err(|source| ConnectError::File { key, path: path.display().to_string(), source })
}

/// The error and its causes, with what to look at.
fn reason(error: &async_nats::ConnectError, settings: &Nats) -> String {
    let hint = match (error.kind(), tls_error(error)) {
        (_, Some(error)) => tls_hint(error),
        (ConnectErrorKind::Tls, None) => {
            "; look at tls.ca, tls.cert and tls.key, and at the name in the server's certificate"
        }
        (ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication, None) => auth_hint(settings),
        (ConnectErrorKind::Io | ConnectErrorKind::Dns | ConnectErrorKind::TimedOut, None) => {
            "; does a nats-server listen there? look at transport.nats.servers"
        }
        _ => "",
    };
    format!("{}{hint}", Chain(error))
}

/// What the TLS library said. It comes wrapped in an error of IO.
fn tls_error(error: &async_nats::ConnectError) -> Option<&rustls::Error> {
    let io = std::error::Error::source(error)?.downcast_ref::<std::io::Error>()?;
    io.get_ref()?.downcast_ref()
}

const fn tls_hint(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidMessage(_) => {
            "; the server does not speak TLS there: unset tls.required and write nats:// instead of tls://, or give \
             the server a certificate"
        }
        rustls::Error::AlertReceived(_) => {
            "; the server does not accept our certificate: set tls.cert and tls.key, signed by an authority that it \
             trusts"
        }
        _ => {
            "; the server's certificate is not trusted: set tls.ca to the authority that signed it, and look at the \
             name in it"
        }
    }
}

fn auth_hint(settings: &Nats) -> &'static str {
    match auth(settings) {
        Ok(Auth::None) | Err(_) => {
            "; the server asks who we are: set token, user and password, nkey, jwt and seed, or credentials"
        }
        Ok(Auth::Token(_)) => "; the server does not know this token: look at token",
        Ok(Auth::User(..)) => "; the server does not know this user with this password: look at user and password",
        Ok(Auth::Nkey(_)) => "; the server does not know this key: look at nkey, and at the public key in the server",
        Ok(Auth::Jwt(..)) => "; jwt has expired, or its account is not trusted there, or seed is not the one it names",
        Ok(Auth::Credentials(_)) => "; the JWT in credentials has expired, or its account is not trusted there",
    }
}

/// An error with its causes in one line, each told once.
pub(super) struct Chain<'a>(pub(super) &'a dyn std::error::Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = self.0.to_string();
        f.write_str(&told)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !told.contains(&text) {
                write!(f, ": {text}")?;
                told = text;
            }
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Nats)) -> String {
        let mut settings = Nats::default();
        change(&mut settings);
        check(&settings).map_or_else(|error| error.to_string(), |()| "accepted".to_owned())
    }

    #[test]
    fn one_whole_way_of_authentication_is_accepted() {
        let secret = |text: &str| toml::Value::String(text.to_owned()).try_into::<Secret>().ok();
        assert_eq!(refused(|_| {}), "accepted");
        assert_eq!(refused(|nats| nats.token = secret("t")), "accepted");
        let both = refused(|nats| (nats.token, nats.nkey) = (secret("t"), secret("SU")));
        assert!(both.contains("token and nkey are all set"), "{both}");
        let half = refused(|nats| nats.jwt = secret("e30"));
        assert!(half.contains("jwt needs seed"), "{half}");
        let orphan = refused(|nats| nats.password = secret("p"));
        assert!(orphan.contains("without user"), "{orphan}");
        let cert = refused(|nats| nats.tls.cert = Some("c.pem".into()));
        assert!(cert.contains("tls.cert and tls.key"), "{cert}");
    }

    #[test]
    fn a_server_with_a_password_in_it_is_refused_without_repeating_it() {
        let text = refused(|nats| nats.servers = vec!["nats://joe:hunter2@host:4222".to_owned()]);
        assert!(text.contains("user and password") && !text.contains("hunter2"), "{text}");
        let text = refused(|nats| nats.servers = vec!["http://host".to_owned()]);
        assert!(text.contains("is no NATS URL"), "{text}");
        let text = refused(|nats| nats.servers.clear());
        assert!(text.contains("servers is empty"), "{text}");
    }
}
