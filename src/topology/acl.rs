//! A nats-server's account block: accounts, users and their rights, and the server's limits.
//!
//! Passwords are named, never written: the server takes them from its environment. It does no IO.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::model::{Account, Limits, Server, Topology, User};
use super::rights::{self, Rights, Work};

/// The account that users are in where none is declared.
pub const ACCOUNT: &str = "DATA";

/// The block, to be included in a nats-server's configuration.
#[must_use]
pub fn render(topology: &Topology) -> String {
    let mut out = String::from(
        "# Accounts and rights of a nats-server, made by `data-manager topology acl`: change the topology, not this.\n\
         # Passwords come from the server's environment; a bcrypt hash may stand there in place of one. The server reads\n\
         # the variable as a value of its configuration: put it in double quotes within (NAME='\"12 34\"'), without which\n\
         # a number, true or a space keeps the server from starting.\n",
    );
    server(&topology.server, &mut out);
    if topology.users.is_empty() && topology.accounts.is_empty() {
        return out;
    }
    let default = Account::default();
    let mut accounts: Vec<(&str, &Account)> =
        topology.accounts.iter().map(|(name, account)| (name.as_str(), account)).collect();
    if !accounts.iter().any(|(_, account)| !account.system) {
        accounts.push((ACCOUNT, &default));
    }
    let plain = accounts.iter().find(|(_, account)| !account.system).map_or(ACCOUNT, |(name, _)| name);
    out.push_str("accounts {\n");
    for (name, account) in &accounts {
        let _ = writeln!(out, "  {} {{", quoted(name));
        if !account.system {
            jetstream(&account.limits, &mut out);
        }
        out.push_str("    users: [\n");
        for (user_name, user) in &topology.users {
            let of = if user.account.is_empty() { plain } else { &user.account };
            if of == *name {
                write_user(user_name, user, &rights::of_user(user_name, user, topology), &mut out);
            }
        }
        out.push_str("    ]\n  }\n");
    }
    out.push_str("}\n");
    if let Some((name, _)) = accounts.iter().find(|(_, account)| account.system) {
        let _ = writeln!(out, "system_account: {}", quoted(name));
    }
    out
}

/// The environment variables that a server with this block needs.
#[must_use]
pub fn environment(topology: &Topology) -> Vec<&str> {
    let mut names: Vec<&str> =
        topology.users.values().map(|user| user.password_env.as_str()).filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn server(server: &Server, out: &mut String) {
    for (key, value) in [
        ("max_payload", server.max_payload.get()),
        ("max_connections", u64::from(server.max_connections)),
        ("max_subscriptions", u64::from(server.max_subscriptions)),
        ("max_pending", server.max_pending.get()),
    ] {
        if value > 0 {
            let _ = writeln!(out, "{key}: {value}");
        }
    }
    let mut lines = Vec::new();
    if !server.store_dir.is_empty() {
        lines.push(format!("store_dir: {}", quoted(&server.store_dir)));
    }
    for (key, bytes) in [("max_memory_store", server.max_memory_store), ("max_file_store", server.max_file_store)] {
        if bytes.get() > 0 {
            lines.push(format!("{key}: {}", bytes.get()));
        }
    }
    if server.sync_always {
        lines.push("sync_interval: always".to_owned());
    } else if !server.sync_interval.is_zero() {
        lines.push(format!("sync_interval: \"{}ms\"", server.sync_interval.duration().as_millis()));
    }
    if !lines.is_empty() {
        // A second block replaces the first one whole.
        let _ = writeln!(out, "# In place of the server's own jetstream block: it must have none beside this.");
        let _ = writeln!(out, "jetstream {{\n  {}\n}}", lines.join("\n  "));
    }
}

fn jetstream(limits: &Limits, out: &mut String) {
    let mut parts = Vec::new();
    for (key, value) in [
        ("max_mem", limits.max_memory.get()),
        ("max_file", limits.max_file.get()),
        ("max_streams", u64::from(limits.max_streams)),
        ("max_consumers", u64::from(limits.max_consumers)),
    ] {
        if value > 0 {
            parts.push(format!("{key}: {value}"));
        }
    }
    let text = if parts.is_empty() { "enabled".to_owned() } else { format!("{{ {} }}", parts.join(", ")) };
    let _ = writeln!(out, "    jetstream: {text}");
}

fn write_user(name: &str, user: &User, rights: &Rights, out: &mut String) {
    if !user.description.is_empty() {
        let _ = writeln!(out, "      # {}", user.description.replace(char::is_control, " "));
    }
    for work in user.work.iter().filter_map(|text| Work::parse(text).ok()) {
        let _ = writeln!(out, "      # {work}");
    }
    out.push_str("      {\n");
    if user.nkey.is_empty() {
        let _ = writeln!(out, "        user: {}\n        password: ${}", quoted(name), user.password_env);
    } else {
        let _ = writeln!(out, "        nkey: {}", quoted(&user.nkey));
    }
    out.push_str("        permissions: {\n");
    side("publish", &rights.publish, rights.deny_publish.iter().chain(&user.deny_publish), out);
    side("subscribe", &rights.subscribe, user.deny_subscribe.iter(), out);
    if let Some(replies) = &user.allow_responses {
        let expires = replies.expires.duration();
        let expires =
            if expires.is_zero() { String::new() } else { format!(", expires: \"{}ms\"", expires.as_millis()) };
        let _ = writeln!(out, "          allow_responses: {{ max: {}{expires} }}", replies.max);
    }
    out.push_str("        }\n      }\n");
}

fn side<'a>(key: &str, allow: &BTreeSet<String>, deny: impl Iterator<Item = &'a String>, out: &mut String) {
    let allow: Vec<String> = allow.iter().map(|subject| quoted(subject)).collect();
    let mut deny: Vec<String> = deny.map(|subject| quoted(subject)).collect();
    if allow.is_empty() {
        // A list of nothing would allow everything.
        deny = vec![quoted(">")];
    }
    let _ = writeln!(out, "          {key}: {{");
    for (key, list) in [("allow", allow), ("deny", deny)] {
        if !list.is_empty() {
            let _ =
                writeln!(out, "            {key}: [\n              {}\n            ]", list.join("\n              "));
        }
    }
    out.push_str("          }\n");
}

/// A text that is never taken for a number, a variable or a block.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::load::parse;

    fn rendered(text: &str) -> String {
        render(&parse(std::path::Path::new("t"), text).unwrap())
    }

    #[test]
    fn a_user_without_rights_gets_none() {
        let text = rendered("[users.nobody]\npassword_env = \"NOBODY\"\n");
        assert_eq!(text.matches("deny: [\n              \">\"").count(), 2, "{text}");
        assert!(text.contains("password: $NOBODY") && !text.contains("allow: ["), "{text}");
    }

    #[test]
    fn limits_and_the_system_account_are_written() {
        let text = rendered(
            "[server]\nstore_dir = \"/data\"\nmax_file_store = \"10GiB\"\nsync_interval = \"10s\"\nmax_payload = \"1MiB\"\n\
             [accounts.DATA.limits]\nmax_file = \"1GiB\"\nmax_streams = 5\n[accounts.SYS]\nsystem = true\n\
             [users.root]\naccount = \"SYS\"\npassword_env = \"ROOT\"\nsubscribe = [\"$SYS.>\"]\n",
        );
        for line in [
            "max_payload: 1048576",
            "  max_file_store: 10737418240",
            "  sync_interval: \"10000ms\"",
            "    jetstream: { max_file: 1073741824, max_streams: 5 }",
            "system_account: \"SYS\"",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn the_environment_that_is_needed_is_named() {
        let text =
            "[users.a]\npassword_env = \"B\"\n[users.b]\npassword_env = \"A\"\n[users.c]\npassword_env = \"A\"\n";
        assert_eq!(environment(&parse(std::path::Path::new("t"), text).unwrap()), ["A", "B"]);
    }
}
