//! Files, variables and flags to settings, and settings to text and back.

use data_manager::config::{Override, Settings, load, validate};

use crate::folder;

/// Reads `data` as layers with NUL between them: a file, a second file, variables, flags. Of the last two a line is
/// `NAME=VALUE`; a name without the prefix of variables gets it.
pub fn run(data: &[u8]) {
    let mut layers = data.splitn(4, |byte| *byte == 0);
    let mut files = Vec::new();
    for (index, text) in layers.by_ref().take(2).enumerate() {
        let path = folder().join(format!("layer-{index}.toml"));
        std::fs::write(&path, text).expect("a file in the temporary directory");
        files.push(path);
    }
    let pairs = |layer: Option<&[u8]>| -> Vec<(String, String)> {
        let text = String::from_utf8_lossy(layer.unwrap_or_default()).into_owned();
        text.lines().filter_map(|line| line.split_once('=')).map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
    };
    let environment: Vec<(String, String)> =
        pairs(layers.next()).into_iter().map(|(name, value)| (format!("DATA_MANAGER__{name}"), value)).collect();
    let flags: Vec<Override> = pairs(layers.next())
        .into_iter()
        .map(|(path, value)| Override { flag: "--set".to_owned(), path, value })
        .collect();
    match load(&files, environment, &flags) {
        Err(error) => assert!(!error.to_string().trim().is_empty(), "an error without a word"),
        Ok(loaded) => {
            if validate::problems(&loaded.settings, &loaded.origins).is_empty() {
                survives(loaded.settings);
            }
        }
    }
}

/// Settings that are right are the same after they were written and read. Secrets are not: they are never written.
fn survives(mut settings: Settings) {
    let nats = &mut settings.transport.nats;
    for secret in [&mut nats.token, &mut nats.password, &mut nats.nkey, &mut nats.jwt, &mut nats.seed] {
        *secret = None;
    }
    let text = toml::to_string(&settings).expect("settings can be written");
    let path = folder().join("written.toml");
    std::fs::write(&path, &text).expect("a file in the temporary directory");
    let read = load(&[path], [], &[]).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(format!("{:?}", read.settings), format!("{settings:?}"), "{text}");
    assert_eq!(validate::problems(&read.settings, &read.origins), Vec::<String>::new(), "{text}");
}
