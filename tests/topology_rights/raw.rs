//! A client that says bare lines of the protocol, so that what the server denies is known line by line, in order,
//! without a deadline: everything before the answer to a ping is settled when the answer is there.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;

use crate::kit::DEADLINE;
use crate::support::Server;

/// Something that a user might try.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Try {
    Publish(String),
    Subscribe(String),
    /// A member of a queue group.
    Queue(String, String),
}

/// A connection that says bare lines.
pub(crate) struct Raw {
    stream: TcpStream,
    lines: BufReader<TcpStream>,
}

impl Raw {
    /// # Errors
    /// What the server said instead of welcoming it.
    pub(crate) fn open(server: &Server, credentials: &serde_json::Value) -> Result<Self, String> {
        let stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut raw = Self { lines: BufReader::new(stream.try_clone().unwrap()), stream };
        let mut connect = serde_json::json!({"verbose": false, "pedantic": false, "headers": true, "protocol": 1});
        for (key, value) in credentials.as_object().unwrap() {
            connect[key] = value.clone();
        }
        let refused = raw.say(&format!("CONNECT {connect}\r\n"));
        refused.is_empty().then_some(raw).ok_or_else(|| refused.join("; "))
    }

    /// Says it, and returns the errors that came of it; one stands for an end of the connection.
    fn say(&mut self, text: &str) -> Vec<String> {
        let mut errors = Vec::new();
        // Where it is cut off, what was said before is still to be read.
        let _ = self.stream.write_all(format!("{text}PING\r\n").as_bytes());
        loop {
            let mut line = String::new();
            match self.lines.read_line(&mut line) {
                Ok(0) => return if errors.is_empty() { vec!["closed".to_owned()] } else { errors },
                Err(error) => panic!("no answer to a ping: {error}; errors so far: {errors:?}"),
                Ok(_) if line.starts_with("PONG") => return errors,
                Ok(_) if line.starts_with("PING") => self.stream.write_all(b"PONG\r\n").unwrap(),
                Ok(_) => errors.extend(line.strip_prefix("-ERR ").map(|text| text.trim().to_owned())),
            }
        }
    }

    /// Tries all of it and returns what was denied. Messages are empty and ask for no answer.
    pub(crate) fn denied(&mut self, all: &[Try]) -> BTreeSet<Try> {
        let mut denied = BTreeSet::new();
        // In portions, so that what the server answers never fills the socket.
        for (at, portion) in all.chunks(50).enumerate() {
            let lines = portion.iter().enumerate().map(|(nth, one)| one.line(at * 50 + nth + 1));
            let errors = self.say(&lines.collect::<String>());
            for one in portion {
                if errors.contains(&one.refusal()) {
                    denied.insert(one.clone());
                }
            }
            let strange: Vec<&String> =
                errors.iter().filter(|error| !portion.iter().any(|one| one.refusal() == **error)).collect();
            assert!(strange.is_empty(), "{strange:?}");
        }
        denied
    }
}

impl Try {
    fn line(&self, id: usize) -> String {
        match self {
            Self::Publish(subject) => format!("PUB {subject} 0\r\n\r\n"),
            Self::Subscribe(subject) => format!("SUB {subject} {id}\r\n"),
            Self::Queue(subject, queue) => format!("SUB {subject} {queue} {id}\r\n"),
        }
    }

    /// The server's words for its denial.
    fn refusal(&self) -> String {
        match self {
            Self::Publish(subject) => format!("'Permissions Violation for Publish to \"{subject}\"'"),
            Self::Subscribe(subject) => format!("'Permissions Violation for Subscription to \"{subject}\"'"),
            Self::Queue(subject, queue) => {
                format!("'Permissions Violation for Subscription to \"{subject}\" using queue \"{queue}\"'")
            }
        }
    }

    /// Whether the server's log says that this user was denied it. The line has another form since 2.11.
    pub(crate) fn is_logged(&self, log: &str, user: &str) -> bool {
        let (what, subject) = match self {
            Self::Publish(subject) => ("Publish", format!("Subject \"{subject}\"")),
            Self::Subscribe(subject) => ("Subscription", format!("Subject \"{subject}\", SID")),
            Self::Queue(subject, queue) => ("Subscription", format!("Subject \"{subject}\", Queue: \"{queue}\"")),
        };
        let (old, new) =
            (format!("{what} Violation - User \"{user}\", {subject}"), format!("{what} Violation - {subject}"));
        let new_user = format!("/user:{user}\" - ");
        log.lines().any(|line| line.contains(&old) || (line.contains(&new_user) && line.contains(&new)))
    }
}
