//! Several nats-servers as one cluster.

use std::time::{Duration, Instant};

use async_nats::jetstream;
use serde_json::Value;

use super::ports::Reserved;
use super::read::client;
use super::server::{Builder, DEADLINE, PAUSE, Server};

/// How long a leader that was asked to step down may keep its place before it is asked again.
const PATIENCE: Duration = Duration::from_secs(5);

/// Servers that have found each other are one cluster within a second or two.
const FIND: Duration = Duration::from_secs(20);

/// Nodes named `n0`, `n1`, ... with routes between them.
pub struct Cluster {
    nodes: Vec<Server>,
    /// Held, so that the nodes come back on the same routes.
    _routes: Vec<Reserved>,
}

impl Cluster {
    /// So many nodes of the default version, with a meta leader whom all of them follow.
    #[must_use]
    pub fn start(nodes: usize) -> Self {
        Self::start_with(nodes, |builder| builder)
    }

    /// As `start`, with what `change` does to every node.
    #[must_use]
    pub fn start_with(nodes: usize, change: impl Fn(Builder) -> Builder) -> Self {
        let routes: Vec<Reserved> = (0..nodes).map(|_| Reserved::any()).collect();
        let urls: Vec<String> = routes.iter().map(|route| format!("\"nats://127.0.0.1:{}\"", route.get())).collect();
        let start = |(index, route): (usize, &Reserved)| {
            let config = format!(
                "cluster {{ name: test, listen: \"127.0.0.1:{}\", routes: [{}] }}",
                route.get(),
                urls.join(", ")
            );
            change(Server::builder()).name(&format!("n{index}")).config(&config).clustered().launch()
        };
        let nodes = routes.iter().enumerate().map(start).collect();
        let mut cluster = Self { nodes, _routes: routes };
        for node in &mut cluster.nodes {
            node.wait_ready();
        }
        // Servers that dial each other at the same moment may each close the other's route as a double, and stay so.
        let start = Instant::now();
        while !cluster.is_healthy() && start.elapsed() < FIND {
            std::thread::sleep(PAUSE);
        }
        if !cluster.is_healthy() {
            for node in &mut cluster.nodes {
                node.restart();
            }
        }
        cluster.wait_healthy();
        cluster
    }

    /// The URLs of all nodes, running or not.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Server::url).collect()
    }

    /// As `urls`, separated by commas, as `client` takes them.
    #[must_use]
    pub fn url(&self) -> String {
        self.urls().join(",")
    }

    #[must_use]
    pub fn node(&self, index: usize) -> &Server {
        &self.nodes[index]
    }

    #[must_use]
    pub fn node_mut(&mut self, index: usize) -> &mut Server {
        &mut self.nodes[index]
    }

    pub fn kill9(&mut self, index: usize) {
        self.nodes[index].kill9();
    }

    /// Starts a node again and blocks until clients may connect and, with a majority, all that run are healthy.
    pub fn restart(&mut self, index: usize) {
        self.nodes[index].restart();
        self.wait_healthy();
    }

    /// As `restart`, while the other tasks of this thread go on.
    pub async fn restart_live(&mut self, index: usize) {
        self.nodes[index].restart_live().await;
        let start = Instant::now();
        while !self.is_healthy() {
            assert!(start.elapsed() < DEADLINE, "the cluster is not healthy within {DEADLINE:?}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn wait_healthy(&mut self) {
        let start = Instant::now();
        while !self.is_healthy() {
            assert!(start.elapsed() < DEADLINE, "the cluster is not healthy within {DEADLINE:?}");
            std::thread::sleep(PAUSE);
        }
    }

    /// Whether all running nodes follow one meta leader; without a majority there is nothing to ask for.
    fn is_healthy(&mut self) -> bool {
        let all = self.nodes.len();
        let running: Vec<&Server> =
            self.nodes.iter_mut().filter_map(|node| node.is_running().then_some(&*node)).collect();
        running.len() <= all / 2 || running.iter().all(|node| node.is_healthy() && meta_size(node) == Some(all))
    }

    /// The index of the node that leads `stream`; waits until one does.
    pub async fn leader(&self, stream: &str) -> usize {
        leader(&client(&self.url()).await, stream, DEADLINE, |_| true).await.expect("a leader before the deadline")
    }

    /// Asks the leader of `stream` to step down, waits until another node leads it, and says which.
    pub async fn step_down(&self, stream: &str) -> usize {
        let client = client(&self.url()).await;
        let old = leader(&client, stream, DEADLINE, |_| true).await.expect("a leader before the deadline");
        let start = Instant::now();
        while start.elapsed() < DEADLINE {
            let answer = client.request(format!("$JS.API.STREAM.LEADER.STEPDOWN.{stream}"), "".into()).await;
            let done = answer.ok().and_then(|answer| serde_json::from_slice::<Value>(&answer.payload).ok());
            if !done.is_some_and(|done| done["success"] == true) {
                tokio::time::sleep(10 * PAUSE).await;
            }
            // Even an answer that never came may have done it.
            if let Some(new) = leader(&client, stream, PATIENCE, |leader| leader != old).await {
                return new;
            }
        }
        panic!("no other node leads stream {stream} within {DEADLINE:?}");
    }
}

/// The leader of a stream as soon as it is one that is wanted, or nobody when the time is over.
async fn leader(
    client: &async_nats::Client,
    stream: &str,
    limit: Duration,
    wanted: impl Fn(usize) -> bool,
) -> Option<usize> {
    let mut context = jetstream::new(client.clone());
    context.set_timeout(Duration::from_secs(1));
    let start = Instant::now();
    while start.elapsed() < limit {
        if let Ok(found) = context.get_stream(stream).await {
            let name = found.cached_info().cluster.as_ref().and_then(|cluster| cluster.leader.clone());
            let index = name.and_then(|name| name.strip_prefix('n')?.parse().ok());
            if let Some(index) = index.filter(|index| wanted(*index)) {
                return Some(index);
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    None
}

/// How many nodes the meta group has in the eyes of a node that knows its leader.
fn meta_size(node: &Server) -> Option<usize> {
    let page: Value = serde_json::from_str(&node.monitor("/jsz")?).ok()?;
    let meta = &page["meta_cluster"];
    meta["leader"].as_str().filter(|leader| !leader.is_empty())?;
    usize::try_from(meta["cluster_size"].as_u64()?).ok()
}
