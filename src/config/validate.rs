//! What settings must be beyond their types: ranges, and values that only make sense together. All problems at once.
//!
//! It knows no venue; whether a symbol exists is for the venue's room to say.

use std::collections::BTreeMap;
use std::time::Duration;

use super::load::Origin;
use super::settings::{JetStream, Nats, Settings};
use super::units::Span;

/// Every problem, one line each: the key, where its value came from, what is wrong, what would do.
#[must_use]
pub fn problems(settings: &Settings, origins: &BTreeMap<String, Origin>) -> Vec<String> {
    let mut check = Check { origins, problems: Vec::new() };
    check.range("shards", settings.shards as u64, 1, 64);
    check.positive("shutdown_timeout", settings.shutdown_timeout);
    feed(settings, &mut check);
    ipc(settings, &mut check);
    // Writers of a stream; with one for each exchange it has a single one.
    let per_exchange = settings.transport.nats.jetstream.stream_per_exchange;
    nats(&settings.transport.nats, if per_exchange { 1 } else { settings.shards }, &mut check);
    jetstream(&settings.transport.nats.jetstream, &mut check);
    kv(&settings.transport.nats, &mut check);
    http(settings, &mut check);
    for (name, exchange) in &settings.exchanges {
        let path = |key: &str| format!("exchanges.{name}.{key}");
        check.url(&path("ws_url"), &exchange.ws_url, &["ws", "wss"]);
        check.url(&path("rest_url"), &exchange.rest_url, &["http", "https"]);
        check.range(&path("redundancy"), exchange.redundancy as u64, 1, 4);
        if exchange.symbols.iter().any(|symbol| symbol.trim().is_empty()) {
            check.refuse(&path("symbols"), "holds an empty name");
        }
    }
    check.problems
}

fn feed(settings: &Settings, check: &mut Check<'_>) {
    let feed = &settings.feed;
    check.positive("feed.connect_timeout", feed.connect_timeout);
    check.positive("feed.backoff_min", feed.backoff_min);
    if feed.backoff_max < feed.backoff_min {
        check.refuse(
            "feed.backoff_max",
            &format!("{} is below feed.backoff_min = {}", feed.backoff_max, feed.backoff_min),
        );
    }
    check.range("feed.repair_hold_bytes", feed.repair_hold_bytes.get(), 1 << 16, 1 << 40);
    if feed.repair {
        check.positive("feed.repair_horizon", feed.repair_horizon);
    }
    check.range("feed.frame_bytes_max", feed.frame_bytes_max.get(), 1 << 10, 64 << 20);
}

fn ipc(settings: &Settings, check: &mut Check<'_>) {
    let ipc = &settings.transport.ipc;
    check.range("transport.ipc.capacity", ipc.capacity, 64, 1 << 30);
    if (64..=1 << 30).contains(&ipc.capacity) && !ipc.capacity.is_power_of_two() {
        let next = ipc.capacity.next_power_of_two();
        check.refuse("transport.ipc.capacity", &format!("{} is no power of two; {next} is the next one", ipc.capacity));
    }
    check.range("transport.ipc.symbols_max", u64::from(ipc.symbols_max), 1, 1 << 20);
    let mode = u32::from_str_radix(ipc.mode.trim_start_matches("0o"), 8).unwrap_or(u32::MAX);
    if mode > 0o777 || mode & 0o600 != 0o600 {
        check.refuse(
            "transport.ipc.mode",
            &format!("{:?} is no mode of a file that we can write; \"0640\" is", ipc.mode),
        );
    }
    let name = ipc.shm_path_prefix.trim_start_matches('/');
    if name.is_empty() || name.contains('/') {
        let text = format!("{:?} is no name in /dev/shm; one slash in front and none behind", ipc.shm_path_prefix);
        check.refuse("transport.ipc.shm_path_prefix", &text);
    }
}

fn nats(nats: &Nats, writers: usize, check: &mut Check<'_>) {
    check.range("transport.nats.window", nats.window as u64, 1, 100_000);
    check.range("transport.nats.pack", nats.pack as u64, 1, 1_000);
    check.positive("transport.nats.ack_timeout", nats.ack_timeout);
    check.range("transport.nats.outbox_memory", nats.outbox_memory.get(), 1 << 16, 1 << 40);
    if nats.outbox_disk.get() > 0 {
        check.range("transport.nats.outbox_disk", nats.outbox_disk.get(), 2 << 20, 1 << 50);
    }
    let pair = &nats.pair;
    if pair.enabled && writers > 1 {
        let text = "one instance of a pair is one writer of a stream: set shards = 1, or jetstream.stream_per_exchange";
        check.refuse("transport.nats.pair.enabled", text);
    }
    if pair.bucket.is_empty() || pair.bucket.contains(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_') {
        check.refuse("transport.nats.pair.bucket", "a bucket's name has letters, digits, '-' and '_'");
    }
    let lease = pair.lease.duration();
    if lease < Duration::from_millis(300) || lease > Duration::from_secs(60) {
        check.refuse("transport.nats.pair.lease", &format!("{} is not from 300ms to 1m", pair.lease));
    }
    if writers > 1 && !nats.message_ids {
        check.refuse("transport.nats.message_ids", "must stay on with several shards, which write beside each other");
    }
    if nats.linger.duration() >= nats.ack_timeout.duration() {
        check.refuse("transport.nats.linger", "a record must not wait for company longer than ack_timeout");
    }
    if nats.inbox_prefix.is_empty() || !is_subject(&nats.inbox_prefix) {
        check.refuse("transport.nats.inbox_prefix", "must be a subject without wildcards, as in \"_INBOX\"");
    }
}

fn jetstream(stream: &JetStream, check: &mut Check<'_>) {
    let key = |name: &str| format!("transport.nats.jetstream.{name}");
    if stream.stream_name.is_empty() || stream.stream_name.contains(|c: char| c.is_whitespace() || ".*>/\\".contains(c))
    {
        check.refuse(
            &key("stream_name"),
            &format!("{:?}: a name has no white space, '.', '*', '>' or slash", stream.stream_name),
        );
    }
    if !is_subject(&stream.subject_prefix) {
        check.refuse(&key("subject_prefix"), &format!("{:?} is no subject without wildcards", stream.subject_prefix));
    }
    check.range(&key("replicas"), stream.replicas as u64, 1, 5);
    let age = stream.max_age.duration();
    if !age.is_zero() && stream.duplicate_window.duration() > age {
        check.refuse(
            &key("duplicate_window"),
            &format!("{} is longer than max_age = {}", stream.duplicate_window, stream.max_age),
        );
    }
}

/// Names of the buckets that tell of venues and instruments: what servers take, and each for one thing.
fn kv(nats: &Nats, check: &mut Check<'_>) {
    let (pair, kv) = (&nats.pair, &nats.kv);
    let named = [
        ("pair.bucket", &pair.bucket, pair.enabled),
        ("kv.status_bucket", &kv.status_bucket, kv.enabled),
        ("kv.instruments_bucket", &kv.instruments_bucket, kv.enabled),
    ];
    for (at, (key, name, used)) in named.iter().enumerate().skip(1) {
        let key = format!("transport.nats.{key}");
        if name.is_empty() || name.contains(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_') {
            check.refuse(&key, &format!("{name:?}: a bucket's name has letters, digits, '-' and '_'"));
        }
        if let Some((other, ..)) = named.iter().take(at).find(|(_, taken, both)| taken == name && *used && *both) {
            check.refuse(&key, &format!("{name:?} is transport.nats.{other} already; each needs a bucket of its own"));
        }
    }
}

fn http(settings: &Settings, check: &mut Check<'_>) {
    let listen = &settings.http.listen;
    if !listen.is_empty() && listen.parse::<std::net::SocketAddr>().is_err() {
        check.refuse(
            "http.listen",
            &format!("{listen:?} is no address and port, as in \"127.0.0.1:9464\"; empty for no HTTP"),
        );
    }
}

fn is_subject(text: &str) -> bool {
    !text.is_empty()
        && text.split('.').all(|token| !token.is_empty())
        && !text.contains(|c: char| c.is_whitespace() || c == '*' || c == '>')
}

struct Check<'a> {
    origins: &'a BTreeMap<String, Origin>,
    problems: Vec<String>,
}

impl Check<'_> {
    fn refuse(&mut self, key: &str, text: &str) {
        let origin = self.origins.get(key).unwrap_or(&Origin::Default);
        self.problems.push(format!("{origin}: {key}: {text}"));
    }

    fn range(&mut self, key: &str, value: u64, min: u64, max: u64) {
        if !(min..=max).contains(&value) {
            self.refuse(key, &format!("{value} is out of range; {min} to {max}"));
        }
    }

    fn positive(&mut self, key: &str, value: Span) {
        if value.is_zero() {
            self.refuse(key, "must be longer than nothing");
        }
    }

    fn url(&mut self, key: &str, value: &str, schemes: &[&str]) {
        if value.is_empty() {
            return;
        }
        if value.contains('@') {
            self.refuse(key, "holds a user or password; public data needs none, and a URL is printed");
            return;
        }
        let rest = schemes.iter().find_map(|scheme| value.strip_prefix(&format!("{scheme}://")));
        if rest.is_none_or(|rest| rest.is_empty() || rest.starts_with('/')) {
            self.refuse(
                key,
                &format!("{value:?} is no URL; write {}://host, a port where it is another", schemes.join(":// or ")),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_right() {
        assert_eq!(problems(&Settings::default(), &BTreeMap::new()), Vec::<String>::new());
    }

    #[test]
    fn several_shards_are_several_writers_unless_each_exchange_has_its_stream() {
        let mut settings = Settings { shards: 4, ..Settings::default() };
        (settings.transport.nats.pair.enabled, settings.transport.nats.message_ids) = (true, false);
        let found = problems(&settings, &BTreeMap::new());
        assert_eq!(found.len(), 2, "{found:#?}");
        settings.transport.nats.jetstream.stream_per_exchange = true;
        assert_eq!(problems(&settings, &BTreeMap::new()), Vec::<String>::new());
    }

    #[test]
    fn every_problem_is_told_with_its_origin() {
        let mut settings = Settings::default();
        settings.transport.ipc.capacity = 1_000;
        settings.transport.ipc.mode = "0440".to_owned();
        settings.transport.nats.window = 0;
        settings.transport.nats.jetstream.max_age = Span::secs(1);
        settings.transport.nats.jetstream.stream_name = "A B".to_owned();
        settings.transport.nats.jetstream.subject_prefix = "a.*".to_owned();
        settings.http.listen = "localhost".to_owned();
        settings.feed.backoff_max = Span::millis(1);
        settings.exchanges.entry("x".to_owned()).or_default().ws_url = "http://a".to_owned();
        settings.exchanges.entry("y".to_owned()).or_default().ws_url = "wss://joe:hunter2@a".to_owned();
        let origins = BTreeMap::from([("transport.nats.window".to_owned(), Origin::Env("W".to_owned()))]);
        let found = problems(&settings, &origins);
        assert_eq!(found.len(), 10, "{found:#?}");
        assert!(!found.concat().contains("hunter2"), "{found:#?}");
        assert!(found.iter().any(|text| text.starts_with("$W: transport.nats.window: 0 is out of range; 1 to 100000")));
        assert!(found.iter().any(|text| text.contains("1024 is the next one")), "{found:#?}");
    }

    #[test]
    fn a_bucket_is_for_one_thing() {
        let told = |change: fn(&mut Nats)| {
            let mut settings = Settings::default();
            change(&mut settings.transport.nats);
            problems(&settings, &BTreeMap::new()).join(" ")
        };
        let twice = told(|nats| nats.kv.instruments_bucket = nats.kv.status_bucket.clone());
        assert!(twice.contains("is transport.nats.kv.status_bucket already"), "{twice}");
        let lease = |nats: &mut Nats| nats.kv.status_bucket = nats.pair.bucket.clone();
        assert_eq!(told(lease), "", "without a pair there is no such bucket");
        let lease = told(|nats| (nats.pair.enabled, nats.kv.status_bucket) = (true, nats.pair.bucket.clone()));
        assert!(lease.contains("is transport.nats.pair.bucket already"), "{lease}");
        let dots = told(|nats| nats.kv.status_bucket = "a.b".to_owned());
        assert!(dots.contains("transport.nats.kv.status_bucket: \"a.b\""), "{dots}");
    }
}
