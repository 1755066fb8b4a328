//! A server with the rights that a topology file gives, what the file declares, and its users as clients.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use async_nats::jetstream::{self, Context};
use async_nats::{Client, ConnectOptions, Event};
use data_manager::topology::load;
use data_manager::topology::model::{Topology, User as Declared};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::support::Server;

/// The oldest line that is spoken to, one before fast ingest, and the one that is shipped.
pub(crate) const VERSIONS: [&str; 3] = ["2.10.26", "2.12.8", "2.15.1"];
/// The worked examples.
pub(crate) const EXAMPLES: [&str; 5] =
    ["event-platform", "market", "prediction-pipeline", "trade-and-record", "venue-platform"];
/// Long enough for any machine; reached only when something is broken.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A server with the account block of a topology file.
pub(crate) struct Ground {
    pub(crate) server: Server,
    pub(crate) topology: Topology,
    pub(crate) file: PathBuf,
    #[allow(dead_code, reason = "gone with the files in it when it is dropped")]
    dir: TempDir,
}

/// A connection as one of its users.
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) client: Client,
    refused: watch::Receiver<Vec<String>>,
}

/// The file of a worked example.
pub(crate) fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("config/topology/{name}.toml"))
}

/// The password behind a variable, as the tests give it to servers and to clients.
pub(crate) fn password(variable: &str) -> String {
    format!("the-{}", variable.to_ascii_lowercase())
}

impl Ground {
    /// Rights and streams of a worked example.
    pub(crate) fn example(name: &str, version: &str) -> Self {
        let ground = Self::of(&example(name), version, "", &[]);
        ground.apply();
        ground
    }

    /// Rights and streams of a topology in TOML.
    pub(crate) fn text(text: &str, version: &str) -> Self {
        Self::text_with(text, version, "", &[])
    }

    /// As [`Self::text`], on a server with more configuration and other variables.
    pub(crate) fn text_with(text: &str, version: &str, config: &str, environment: &[(&str, &str)]) -> Self {
        let ground = Self::unapplied(text, version, config, environment);
        ground.apply();
        ground
    }

    /// Rights of a topology in TOML.
    pub(crate) fn text_unapplied(text: &str, version: &str, environment: &[(&str, &str)]) -> Self {
        Self::unapplied(text, version, "", environment)
    }

    fn unapplied(text: &str, version: &str, config: &str, environment: &[(&str, &str)]) -> Self {
        let dir = TempDir::with_prefix("data-manager-topology-").unwrap();
        let file = dir.path().join("topology.toml");
        std::fs::write(&file, text).unwrap();
        let mut ground = Self::of(&file, version, config, environment);
        ground.dir = dir;
        ground
    }

    /// Rights of a file; nothing of it is applied yet.
    pub(crate) fn of(file: &Path, version: &str, config: &str, environment: &[(&str, &str)]) -> Self {
        let dir = TempDir::with_prefix("data-manager-topology-").unwrap();
        let block = dir.path().join("accounts.conf");
        let mut command = binary(&["topology", "acl"]);
        succeeds(command.arg(file).arg("-o").arg(&block));
        let topology = load::load(&[file]).unwrap().topology;
        let mut builder = Server::builder()
            .version(version)
            .max_file_store("64GB")
            .max_memory_store("4GB")
            .file("accounts.conf", &std::fs::read_to_string(&block).unwrap())
            .config("include accounts.conf")
            .config(config);
        for variable in topology.users.values().map(|user| &user.password_env).filter(|name| !name.is_empty()) {
            let other = environment.iter().find(|(name, _)| name == variable);
            builder = builder.env(variable, other.map_or(&password(variable), |(_, value)| value));
        }
        Self { server: builder.start(), topology, file: file.to_owned(), dir }
    }

    /// Makes the streams, as the user whose work is `admin`.
    pub(crate) fn apply(&self) {
        let mut users = self.topology.users.iter();
        let (admin, _) = users.find(|(_, user)| user.work.iter().any(|work| work == "admin")).unwrap();
        succeeds(self.command(admin, &["topology", "apply"]).arg(&self.file));
    }

    pub(crate) fn declared(&self, user: &str) -> &Declared {
        self.topology.users.get(user).unwrap_or_else(|| panic!("no user {user}"))
    }

    /// data-manager on this server as this user, all by its environment.
    pub(crate) fn command(&self, user: &str, args: &[&str]) -> Command {
        let mut command = binary(args);
        for (key, value) in self.settings(user) {
            command.env(format!("DATA_MANAGER__{key}"), value);
        }
        command
    }

    /// What data-manager has to be told to be this user.
    pub(crate) fn settings(&self, user: &str) -> Vec<(&'static str, String)> {
        let declared = self.declared(user);
        vec![
            ("TRANSPORT__NATS__SERVERS", self.server.url()),
            ("TRANSPORT__NATS__USER", user.to_owned()),
            ("TRANSPORT__NATS__PASSWORD", password(&declared.password_env)),
            ("TRANSPORT__NATS__INBOX_PREFIX", declared.inbox(user)),
        ]
    }

    /// A connection as this user.
    pub(crate) async fn user(&self, name: &str) -> User {
        let declared = self.declared(name);
        let options = ConnectOptions::with_user_and_password(name.to_owned(), password(&declared.password_env));
        self.connected(name, options).await
    }

    /// A connection with these credentials, with the inbox of this user.
    pub(crate) async fn connected(&self, name: &str, options: ConnectOptions) -> User {
        let (heard, refused) = watch::channel(Vec::new());
        let client = options
            .custom_inbox_prefix(self.declared(name).inbox(name))
            .connection_timeout(DEADLINE / 4)
            .request_timeout(Some(DEADLINE / 4))
            .event_callback(move |event| {
                if let Event::ServerError(error) = event {
                    heard.send_modify(|list| list.push(error.to_string()));
                }
                std::future::ready(())
            })
            .connect(self.server.url())
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        User { name: name.to_owned(), client, refused }
    }
}

impl User {
    pub(crate) fn js(&self) -> Context {
        jetstream::new(self.client.clone())
    }

    /// What comes of `work`; the server's own words as soon as it denies something.
    pub(crate) async fn tries<T>(&self, work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
        let mut refused = self.refused.clone();
        tokio::select! {
            biased;
            list = refused.wait_for(|list| !list.is_empty()) => Err(list.unwrap().join("; ")),
            result = tokio::time::timeout(DEADLINE, work) => {
                result.unwrap_or_else(|_| Err(format!("nothing came of it within {DEADLINE:?}")))
            }
        }
    }

    /// As [`Self::tries`], for what has to work.
    pub(crate) async fn does<T>(&self, what: &str, work: impl Future<Output = Result<T, String>>) -> T {
        let result = self.tries(work).await;
        result.unwrap_or_else(|error| panic!("{}, {what}: {error}", self.name))
    }

    /// What the server denied this connection so far.
    pub(crate) fn refused(&self) -> Vec<String> {
        self.refused.borrow().clone()
    }
}

/// Errors as texts, so that work of all kinds has one.
pub(crate) fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// The binary, without anything from this process's environment that would configure it.
pub(crate) fn binary(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_data-manager"));
    command.args(args).env_remove("DATA_MANAGER_CONFIG").env_remove("RUST_LOG");
    command
}

/// What it wrote to stdout, where it ended well.
pub(crate) fn succeeds(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?} ended with {status}\n{out}{err}");
    out.into_owned()
}

/// What it wrote, where it failed.
pub(crate) fn fails(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let all = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(!status.success(), "{command:?} ended well\n{all}");
    all
}
