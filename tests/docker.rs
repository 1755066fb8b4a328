//! What lies in docker/, held against the repository and the real binaries, without a container engine.
//!
//! Whether the images build and the services find each other is not seen here.

#[path = "docker/yaml.rs"]
mod yaml;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use yaml::{load, members, texts, with_defaults};
use yaml_rust2::Yaml;

const COMPOSE: [&str; 2] = ["docker/compose.yaml", "docker/compose.cluster.yaml"];
/// Containers that run the binary.
const OURS: [&str; 2] = ["data-manager", "tail"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Output of the real binary as (exit code, both streams).
fn data_manager(arguments: &[String]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_data-manager"));
    command.args(arguments).env_remove("DATA_MANAGER_CONFIG").env_remove("RUST_LOG");
    let done = command.output().unwrap_or_else(|error| panic!("the binary does not start: {error}"));
    (done.status.code(), String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned())
}

/// Host path and container path of a service's bind mounts.
fn mounts(service: &Yaml) -> Vec<(PathBuf, String)> {
    let pair = |text: String| {
        let mut parts = text.split(':').map(str::to_owned);
        Some((parts.next()?, parts.next()?))
    };
    let binds = texts(&service["volumes"]).into_iter().filter_map(pair).filter(|(host, _)| host.starts_with('.'));
    binds.map(|(host, inside)| (root().join("docker").join(host), inside)).collect()
}

/// A service as one of the files describes it, on top of what the first file says.
struct Service {
    name: String,
    command: Vec<String>,
    mounts: Vec<(PathBuf, String)>,
}

/// The services of all files, as Compose merges what matters here: the later command, all mounts.
fn services() -> Vec<Service> {
    let mut found = Vec::new();
    let base = load(&root().join(COMPOSE[0]));
    for file in COMPOSE {
        for (name, service) in members(&load(&root().join(file))["services"]) {
            let mut all = mounts(&base["services"][name]);
            all.extend(mounts(service));
            let command = texts(&service["command"]).iter().map(|text| with_defaults(text)).collect();
            found.push(Service { name: name.to_owned(), command, mounts: all });
        }
    }
    found
}

#[test]
fn compose_files_name_only_what_exists() {
    let base = load(&root().join(COMPOSE[0]));
    let mut volumes: BTreeSet<String> = BTreeSet::new();
    let mut names: BTreeSet<String> = BTreeSet::new();
    for file in COMPOSE {
        let compose = load(&root().join(file));
        volumes.extend(texts(&compose["volumes"]));
        names.extend(texts(&compose["services"]));
        assert_eq!(compose["name"], base["name"], "{file}: both files describe one project");
        for (name, service) in members(&compose["services"]) {
            let image = [service, &base["services"][name]].iter().any(|one| one["image"].as_str().is_some());
            assert!(image, "{file}: {name} has no image");
            for (host, _) in mounts(service) {
                assert!(host.is_file(), "{file}: {name} mounts {}, which is not there", host.display());
            }
            for text in texts(&service["volumes"]).iter().filter(|text| !text.starts_with('.')) {
                let volume = text.split(':').next().unwrap_or_default();
                assert!(volumes.contains(volume), "{file}: {name} mounts the volume {volume}, which is not declared");
            }
            for other in texts(&service["depends_on"]) {
                assert!(names.contains(&other), "{file}: {name} depends on {other}, which is no service");
            }
            for port in texts(&service["ports"]) {
                assert!(port.starts_with("127.0.0.1:"), "{file}: {name} opens {port} beyond loopback");
            }
        }
    }
    let build = &base["services"]["data-manager"]["build"];
    let context = root().join("docker").join(build["context"].as_str().unwrap_or_default());
    assert!(context.join(build["dockerfile"].as_str().unwrap_or_default()).is_file(), "the Dockerfile is not there");
}

#[test]
fn our_services_run_with_the_least_rights() {
    let compose = load(&root().join(COMPOSE[0]));
    for name in OURS {
        let service = &compose["services"][name];
        assert_eq!(service["read_only"], Yaml::Boolean(true), "{name}");
        assert_eq!(texts(&service["cap_drop"]), ["ALL"], "{name}");
        assert_eq!(texts(&service["security_opt"]), ["no-new-privileges:true"], "{name}");
    }
    let grace =
        compose["services"]["data-manager"]["stop_grace_period"].as_str().and_then(|text| text.strip_suffix('s'));
    let grace: u64 = grace.and_then(|text| text.parse().ok()).unwrap_or_default();
    let drain = data_manager::config::Settings::default().shutdown_timeout.duration().as_secs();
    assert!(grace > drain, "stop_grace_period {grace} s would cut a drain of {drain} s short");
}

#[test]
fn every_flag_is_known_to_the_binary() {
    let (code, text) = data_manager(&["serve".to_owned(), "--no-such-flag".to_owned(), "--help".to_owned()]);
    assert_eq!(code, Some(2), "an unknown flag must be refused, or this test proves nothing: {text}");
    let mut seen = 0;
    for Service { name, mut command, .. } in services() {
        if OURS.contains(&name.as_str()) && !command.is_empty() {
            // clap reads left to right: what stands in front of --help has been understood.
            command.push("--help".to_owned());
            let (code, text) = data_manager(&command);
            assert_eq!(code, Some(0), "{name} {command:?}: {text}");
            seen += 1;
        }
    }
    assert_eq!(seen, 3, "two commands in {}, one in {}", COMPOSE[0], COMPOSE[1]);
}

#[test]
fn every_configuration_is_accepted_by_the_binary() {
    let mut seen = 0;
    for Service { name, command, mounts } in services() {
        let mut check = vec!["config".to_owned(), "check".to_owned()];
        for (flag, inside) in command.iter().zip(command.iter().skip(1)).filter(|(flag, _)| *flag == "--config") {
            let host = mounts.iter().find(|(_, mounted)| mounted == inside).map(|(host, _)| host.display().to_string());
            check.extend([flag.clone(), host.unwrap_or_else(|| panic!("{name} reads {inside}, which nothing mounts"))]);
        }
        if OURS.contains(&name.as_str()) && check.len() > 2 {
            let (code, text) = data_manager(&check);
            assert_eq!(code, Some(0), "{check:?}: {text}");
            seen += 1;
        }
    }
    assert_eq!(seen, 2, "serve of {} and of {}", COMPOSE[0], COMPOSE[1]);
    let bad = root().join("docker/nats/nats.conf").display().to_string();
    let (code, text) = data_manager(&["config".to_owned(), "check".to_owned(), "--config".to_owned(), bad]);
    assert_eq!(code, Some(78), "a file that is no configuration must be refused, or this test proves nothing: {text}");
}

#[test]
fn what_was_acknowledged_is_kept_for_twice_the_sync_interval() {
    let seconds = |text: &str| -> u64 {
        let number = text.trim().trim_matches('"').trim_end_matches('s').parse();
        number.unwrap_or_else(|error| panic!("{text:?} is no number of seconds: {error}"))
    };
    let value = |path: &str, key: &str, between: char| {
        let text = read(path);
        let line = text.lines().find(|line| line.trim_start().starts_with(key));
        let line = line.unwrap_or_else(|| panic!("{path} sets no {key}"));
        seconds(line.split_once(between).unwrap_or_default().1)
    };
    let retain = value("docker/config/data-manager.toml", "retain", '=');
    for conf in ["docker/nats/nats.conf", "docker/nats/cluster.conf"] {
        let sync = value(conf, "sync_interval", ':');
        assert!(retain >= 2 * sync, "retain is {retain} s, sync_interval in {conf} is {sync} s");
    }
}

#[test]
fn nats_server_accepts_its_configurations() {
    let server = nats_server();
    let check = |path: &Path, name: &str| {
        let mut command = Command::new(&server);
        command.args(["-t", "-c"]).arg(path).env("SERVER_NAME", name);
        let done = command.output().unwrap_or_else(|error| panic!("{}: {error}; run `make tools`", server.display()));
        (done.status.success(), String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned())
    };
    for conf in ["docker/nats/nats.conf", "docker/nats/cluster.conf"] {
        let (fine, text) = check(&root().join(conf), "nats-2");
        assert!(fine, "{conf}: {text}");
    }
    let (fine, _) = check(&root().join("docker/prometheus/prometheus.yml"), "");
    assert!(!fine, "a file that is no configuration must be refused, or this test proves nothing");
    // Every node that the routes name is a service, and every service has a node name.
    let cluster = load(&root().join(COMPOSE[1]));
    for line in read("docker/nats/cluster.conf").lines().filter_map(|line| line.trim().strip_prefix("nats://")) {
        let node = line.split(':').next().unwrap_or_default();
        assert_eq!(cluster["services"][node]["environment"]["SERVER_NAME"].as_str(), Some(node), "route {line}");
    }
}

#[test]
fn the_dockerfile_names_only_what_exists() {
    let text = read("docker/Dockerfile").replace("\\\n", " ");
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    let of = |word: &'static str| lines.iter().filter(move |line| line.first() == Some(&word));
    let arguments: BTreeSet<&str> = of("ARG").filter_map(|line| line.get(1)?.split('=').next()).collect();
    let stages: BTreeSet<&str> = of("FROM").filter_map(|line| line.get(3).copied()).collect();
    assert_eq!(of("FROM").count(), 2, "a builder and a runtime");
    for line in of("FROM") {
        let image = line.get(1).and_then(|image| image.strip_prefix("${")?.strip_suffix('}'));
        assert!(image.is_some_and(|name| arguments.contains(name)), "{line:?}: base images are arguments");
    }
    for from in of("COPY").filter_map(|line| line.get(1)?.strip_prefix("--from=")) {
        assert!(stages.contains(from), "COPY --from={from}: no such stage");
    }
    let user = of("USER").next_back().and_then(|line| line.get(1)?.split(':').next()?.parse::<u32>().ok());
    assert!(user.is_some_and(|id| id != 0), "the image runs as a number that is not root's");
    assert_eq!(of("STOPSIGNAL").next().and_then(|line| line.get(1).copied()), Some("SIGTERM"));
    assert!(text.contains(&format!("ARG VERSION={}", env!("CARGO_PKG_VERSION"))), "the label tells another version");
    let ignore = read(".dockerignore");
    assert!(ignore.lines().any(|line| line == "*"), "only what is named goes to the builder");
    for needed in ["Cargo.toml", "Cargo.lock", "build.rs", "src", "benches", "config", "docs"] {
        let sent = ignore.lines().any(|line| line == format!("!{needed}"));
        assert!(sent || !root().join(needed).exists(), ".dockerignore keeps {needed} from the builder");
    }
}

#[test]
fn alerts_are_whole_and_ask_for_metrics_that_exist() {
    let alerts = load(&root().join("docker/prometheus/alerts.yml"));
    let metrics = read("docs/metrics.md");
    let mut seen = 0;
    for group in alerts["groups"].as_vec().into_iter().flatten() {
        for rule in group["rules"].as_vec().into_iter().flatten() {
            let name = rule["alert"].as_str().unwrap_or_else(|| panic!("a rule without a name: {rule:?}"));
            let expression = rule["expr"].as_str().unwrap_or_else(|| panic!("{name} has no expr"));
            assert!(matches!(rule["labels"]["severity"].as_str(), Some("page" | "look")), "{name}: severity");
            assert!(rule["annotations"]["summary"].as_str().is_some(), "{name} has no summary");
            assert!(rule["annotations"]["action"].as_str().is_some(), "{name} says not what to do");
            let mut words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            for metric in words.by_ref().filter(|word| word.starts_with("data_manager_")) {
                assert!(metrics.contains(&format!("`{metric}`")), "{name} asks for {metric}: not in docs/metrics.md");
            }
            seen += 1;
        }
    }
    assert!(seen > 0, "no alert was found");
    promtool(&["check", "rules", "docker/prometheus/alerts.yml"]);
}

/// Asks promtool where there is one.
fn promtool(arguments: &[&str]) {
    match Command::new("promtool").args(arguments).current_dir(root()).output() {
        Ok(done) => assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr)),
        Err(error) => eprintln!("promtool is not here ({error}): the syntax of expressions is not checked"),
    }
}

/// The server that `make tools` fetched, or what NATS_SERVER names.
fn nats_server() -> PathBuf {
    let named = std::env::var_os("NATS_SERVER").map(PathBuf::from);
    named.unwrap_or_else(|| root().join(".tools/nats-server-2.15.1/nats-server"))
}
