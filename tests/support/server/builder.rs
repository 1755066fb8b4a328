//! What a nats-server is to be before it starts: its version, its configuration, where it keeps its files.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::super::ports::Reserved;
use super::{DEFAULT_VERSION, MORE, Server, binary};

/// What a server is to be.
pub struct Builder {
    version: String,
    name: String,
    config: String,
    jetstream: bool,
    max_file_store: String,
    max_memory_store: String,
    files: Vec<(String, String)>,
    environment: Vec<(String, String)>,
    store: Option<PathBuf>,
    port: Option<u16>,
    clustered: bool,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            version: DEFAULT_VERSION.to_owned(),
            name: "test".to_owned(),
            config: String::new(),
            jetstream: true,
            max_file_store: "8GB".to_owned(),
            max_memory_store: "256MB".to_owned(),
            files: Vec::new(),
            environment: Vec::new(),
            store: None,
            port: None,
            clustered: false,
        }
    }

    /// A release that `make tools` fetches, such as `2.12.8`.
    #[must_use]
    pub fn version(mut self, version: &str) -> Self {
        self.version = version.to_owned();
        self
    }

    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.to_owned();
        self
    }

    /// More lines of the server's configuration; may be called again.
    #[must_use]
    pub fn config(mut self, lines: &str) -> Self {
        self.config.push_str(lines);
        self.config.push('\n');
        self
    }

    #[must_use]
    pub const fn without_jetstream(mut self) -> Self {
        self.jetstream = false;
        self
    }

    /// How much JetStream may keep on disk, such as `1MB`.
    #[must_use]
    pub fn max_file_store(mut self, size: &str) -> Self {
        self.max_file_store = size.to_owned();
        self
    }

    /// How much JetStream may keep in memory.
    #[must_use]
    pub fn max_memory_store(mut self, size: &str) -> Self {
        self.max_memory_store = size.to_owned();
        self
    }

    /// A file beside the configuration, for it to `include`.
    #[must_use]
    pub fn file(mut self, name: &str, text: &str) -> Self {
        self.files.push((name.to_owned(), text.to_owned()));
        self
    }

    /// A variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Where JetStream is to keep its files, such as a small file system.
    #[must_use]
    pub fn store_in(mut self, directory: &Path) -> Self {
        self.store = Some(directory.to_owned());
        self
    }

    /// This port instead of any free one.
    #[must_use]
    pub const fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Ready as soon as clients may connect: JetStream of a cluster waits for the other nodes.
    #[must_use]
    pub(in super::super) const fn clustered(mut self) -> Self {
        self.clustered = true;
        self
    }

    /// Starts it, without waiting until it answers.
    #[must_use]
    pub fn launch(self) -> Server {
        let dir = TempDir::with_prefix("data-manager-nats-").unwrap();
        let port = self.port.map_or_else(Reserved::any, Reserved::fixed);
        let mut server = Server {
            binary: binary(&self.version),
            store: self.store.clone().unwrap_or_else(|| dir.path().join("store")),
            dir,
            port,
            monitor: Reserved::any(),
            clustered: self.clustered,
            environment: self.environment.clone(),
            child: None,
            log_start: 0,
        };
        for (name, text) in &self.files {
            std::fs::write(server.path(name), text).unwrap();
        }
        std::fs::write(server.path("server.conf"), self.text(&server)).unwrap();
        server.launch();
        server
    }

    /// Starts it and waits until it answers.
    #[must_use]
    pub fn start(self) -> Server {
        let mut server = self.launch();
        server.wait_ready();
        server
    }

    fn text(&self, server: &Server) -> String {
        let mut text = format!(
            "server_name: \"{}\"\nlisten: \"127.0.0.1:{}\"\nhttp: \"127.0.0.1:{}\"\n",
            self.name,
            server.port(),
            server.monitor.get(),
        );
        if self.jetstream {
            let (store, file, memory) = (server.store(), &self.max_file_store, &self.max_memory_store);
            text +=
                &format!("jetstream {{ store_dir: {store:?}, max_memory_store: {memory}, max_file_store: {file} }}\n");
        }
        text + MORE + &self.config
    }
}
