//! Reading of YAML files for the tests: parse, merge keys, paths; a panic names the file.

use std::fs;
use std::path::Path;

use yaml_rust2::yaml::Hash;
use yaml_rust2::{Yaml, YamlLoader};

/// The one document of a YAML file, merge keys (`<<`) resolved.
pub(crate) fn load(path: &Path) -> Yaml {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let documents = YamlLoader::load_from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    match <[Yaml; 1]>::try_from(documents) {
        Ok([document]) => merged(document),
        Err(others) => panic!("{}: {} documents, one was expected", path.display(), others.len()),
    }
}

/// The members of a mapping as (key, value); nothing for anything else.
pub(crate) fn members(yaml: &Yaml) -> Vec<(&str, &Yaml)> {
    yaml.as_hash().into_iter().flatten().filter_map(|(key, value)| Some((key.as_str()?, value))).collect()
}

/// The texts of a sequence, or the keys of a mapping: Compose takes either in many places.
pub(crate) fn texts(yaml: &Yaml) -> Vec<String> {
    match yaml {
        Yaml::Array(items) => items.iter().filter_map(Yaml::as_str).map(str::to_owned).collect(),
        Yaml::Hash(_) => members(yaml).into_iter().map(|(key, _)| key.to_owned()).collect(),
        _ => Vec::new(),
    }
}

/// Compose's `${NAME:-default}` with nothing set in the environment.
pub(crate) fn with_defaults(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, behind)) = rest.split_once("${") {
        let (expression, after) = behind.split_once('}').unwrap_or_else(|| panic!("`{text}`: a `${{` is never closed"));
        let (_, default) =
            expression.split_once(":-").unwrap_or_else(|| panic!("`{text}`: a variable without a default"));
        out.push_str(before);
        out.push_str(default);
        rest = after;
    }
    out + rest
}

fn merged(yaml: Yaml) -> Yaml {
    match yaml {
        Yaml::Array(items) => Yaml::Array(items.into_iter().map(merged).collect()),
        Yaml::Hash(hash) => {
            let mut out = Hash::new();
            let merge = Yaml::String("<<".to_owned());
            if let Some(base) = hash.get(&merge).and_then(Yaml::as_hash) {
                out.extend(base.clone());
            }
            for (key, value) in hash {
                if key != merge {
                    out.insert(key, merged(value));
                }
            }
            Yaml::Hash(out)
        }
        other => other,
    }
}
