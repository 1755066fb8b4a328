//! Backups and restores in clusters, where a name is taken before there is a stream, and nobody answers for what is not
//! there.

use async_nats::jetstream::stream::Config;
use async_nats::jetstream::{self, Context};
use tempfile::TempDir;

use crate::kit::publish;
use crate::process::{Done, run};
use crate::support::{Cluster, client};

struct Several {
    cluster: Cluster,
    context: Context,
    directory: TempDir,
}

impl Several {
    async fn of(version: &str) -> Self {
        let cluster = Cluster::start_with(3, |builder| builder.version(version));
        let context = jetstream::new(client(&cluster.url()).await);
        Self { cluster, context, directory: tempfile::tempdir().unwrap() }
    }

    async fn stream(&self, messages: u64) {
        let subjects = vec!["S.>".to_owned()];
        let config = Config { name: "S".to_owned(), subjects, num_replicas: 3, ..Config::default() };
        self.context.create_stream(config).await.unwrap();
        publish(&self.context, "S", messages).await;
    }

    fn url(&self) -> String {
        self.cluster.node(0).url()
    }

    #[track_caller]
    fn backup(&self, stream: &str, more: &[&str]) -> Done {
        let (url, path) = (self.url(), self.directory.path().join("s"));
        run(&[&["topology", "backup", stream, "-o", path.to_str().unwrap(), "--nats", &url], more].concat())
    }
}

#[tokio::test]
async fn a_stream_that_a_cluster_does_not_have_is_told_at_once() {
    for version in ["2.10.26", "2.15.1"] {
        let several = Several::of(version).await;
        several.stream(10).await;
        for more in [&[][..], &["--check"]] {
            several.backup("T", more).expect_code(1).tells("stream T does not exist; there is S");
        }
        several.backup("S", &["--check"]).expect_code(0).tells("10 messages");
    }
}
