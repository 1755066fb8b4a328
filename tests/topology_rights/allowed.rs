//! What each user of each example is for, done as that user on each server, without a single denial.

use data_manager::topology::model::User as Declared;
use data_manager::topology::rights::Work;

use crate::kit::{EXAMPLES, Ground, User, VERSIONS, fails, succeeds};
use crate::work::whole;

/// Publishers first, so that there is something to read.
fn rank(work: &Work) -> u8 {
    match work {
        Work::Publish(_) | Work::KvWrite(_) => 0,
        _ => 1,
    }
}

fn works(user: &Declared) -> Vec<Work> {
    user.work.iter().map(|text| Work::parse(text).unwrap()).collect()
}

async fn everybody_does_its_work(version: &str) {
    for file in EXAMPLES {
        let ground = Ground::example(file, version);
        let mut all: Vec<(String, Work)> = Vec::new();
        for (name, user) in &ground.topology.users {
            all.extend(works(user).into_iter().map(|work| (name.clone(), work)));
        }
        all.sort_by_key(|(_, work)| rank(work));
        for (name, work) in all {
            // What lives for seconds may have gone since it was published, and what a consumer brings is brought once.
            refill(&ground).await;
            let user: User = ground.user(&name).await;
            user.does(&format!("{file} on nats-server {version}"), whole(&user, &work, &ground.topology)).await;
            assert_eq!(user.refused(), Vec::<String>::new());
        }
        data_manager_looks(&ground);
        let log = ground.server.log();
        let violations: Vec<&str> = log.lines().filter(|line| line.contains("Violation")).collect();
        assert!(violations.is_empty(), "{file} on nats-server {version}: {violations:#?}");
    }
}

/// A message on each subject of each stream that does not keep what it has.
async fn refill(ground: &Ground) {
    for (name, user) in &ground.topology.users {
        for work in works(user) {
            if let Work::Publish(_) | Work::KvWrite(_) = &work {
                let user = ground.user(name).await;
                user.does("again", whole(&user, &work, &ground.topology)).await;
            }
        }
    }
}

/// `topology plan` and `check`, and the audit, as whoever monitors.
fn data_manager_looks(ground: &Ground) {
    let monitors = ground.topology.users.iter().filter(|(_, user)| user.work.iter().any(|work| work == "monitor"));
    for (name, _) in monitors {
        succeeds(ground.command(name, &["topology", "plan"]).arg(&ground.file));
        succeeds(ground.command(name, &["topology", "check"]).arg(&ground.file));
        let audit = ground.command(name, &["check", "--sample", "0s"]).arg(&ground.file).output().unwrap();
        // It may criticise; it may not have been kept from looking, which is 3.
        let said = String::from_utf8_lossy(&audit.stdout);
        assert!(matches!(audit.status.code(), Some(0..=2)), "{}: {said}", audit.status);
    }
    let (stranger, _) = ground.topology.users.iter().next_back().unwrap();
    let mut command = ground.command(stranger, &["topology", "plan"]);
    let told = fails(command.arg(&ground.file).env("DATA_MANAGER__TRANSPORT__NATS__PASSWORD", "another"));
    assert!(told.contains("uthorization"), "{told}");
}

#[tokio::test]
async fn everybody_does_its_work_on_2_10() {
    everybody_does_its_work(VERSIONS[0]).await;
}

#[tokio::test]
async fn everybody_does_its_work_on_2_12() {
    everybody_does_its_work(VERSIONS[1]).await;
}

#[tokio::test]
async fn everybody_does_its_work_on_2_15() {
    everybody_does_its_work(VERSIONS[2]).await;
}
