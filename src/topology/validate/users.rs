//! What is wrong with accounts and users.

use super::Check;
use crate::config::Span;
use crate::topology::acl::ACCOUNT;
use crate::topology::model::User;
use crate::topology::rights::{self, Work};

/// What the block that `acl` writes has around a password, in front of it.
const BLOCK_KEYS: [&str; 9] = [
    "max_payload",
    "max_connections",
    "max_subscriptions",
    "max_pending",
    "jetstream",
    "accounts",
    "users",
    "user",
    "system_account",
];

pub(super) fn check(check: &mut Check<'_>) {
    let topology = &check.declared.topology;
    let system: Vec<&String> = topology.accounts.iter().filter(|(_, one)| one.system).map(|(name, _)| name).collect();
    if let [first, second, ..] = system.as_slice() {
        let text = format!("{first} is the system account already; a server has one");
        check.at(format!("accounts.{second}"));
        check.refuse("system", text);
    }
    server(check);
    let mut inboxes: Vec<(String, String, &str)> = Vec::new();
    for (name, user) in &topology.users {
        check.at(format!("users.{name}"));
        one(check, name, user);
        let account = account(check, user);
        let inbox = user.inbox(name);
        let clash =
            inboxes.iter().find(|(of, other, _)| *of == account && (within(&inbox, other) || within(other, &inbox)));
        if let Some((_, theirs, other)) = clash {
            let text = if *theirs == inbox {
                format!("{other} has the same; each would read the other's replies")
            } else {
                format!("{other} has {theirs}, and one of them is part of the other: its replies could be read")
            };
            check.refuse("inbox_prefix", text);
        }
        inboxes.push((account, inbox, name));
    }
}

fn server(check: &mut Check<'_>) {
    check.at("server".to_owned());
    let server = &check.declared.topology.server;
    let bounds = [server.max_memory_store, server.max_file_store];
    let has_limits =
        bounds.iter().any(|bytes| bytes.get() > 0) || server.sync_always || !server.sync_interval.is_zero();
    if has_limits && server.store_dir.is_empty() {
        let text = "is needed with limits of the store: the block that `acl` writes stands in place of the server's own \
                    jetstream block, and without it JetStream would begin empty somewhere else";
        check.refuse("store_dir", text);
    }
    moment(check, "sync_interval", server.sync_interval);
}

/// A time that the block writes in milliseconds; none at all would be the server's default.
fn moment(check: &mut Check<'_>, key: &str, span: Span) {
    if !span.is_zero() && span < Span::millis(1) {
        check.refuse(key, format!("{span} is shorter than 1ms, the least that is written"));
    }
}

/// Whether who may read all below `outer` reads `inner` too.
fn within(inner: &str, outer: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn one(check: &mut Check<'_>, name: &str, user: &User) {
    match (user.password_env.is_empty(), user.nkey.is_empty()) {
        (true, true) => check.refuse("", "has neither password_env nor nkey: nobody could be it, or everybody"),
        (false, false) => check.refuse("nkey", "stands beside password_env; keep one of them"),
        _ => {}
    }
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let env = &user.password_env;
    if !env.is_empty() && (!env.chars().all(is_word) || env.starts_with(|c: char| c.is_ascii_digit())) {
        check
            .refuse("password_env", format!("{env:?} is no name of an environment variable; a password is never here"));
    }
    // The server looks for the name in the blocks around it before it looks into its environment.
    if BLOCK_KEYS.contains(&env.as_str()) || check.declared.topology.accounts.contains_key(env) || env == ACCOUNT {
        let text =
            "is a key of the block that `acl` writes, and the server would take its value; name another variable";
        check.refuse("password_env", format!("{env:?} {text}"));
    }
    if let Some(replies) = &user.allow_responses {
        moment(check, "allow_responses.expires", replies.expires);
    }
    let is_base32 = |c: char| c.is_ascii_uppercase() || ('2'..='7').contains(&c);
    let is_nkey = user.nkey.starts_with('U') && user.nkey.len() == 56 && user.nkey.chars().all(is_base32);
    if !user.nkey.is_empty() && !is_nkey {
        let text = "is no public key of a user: it begins with U and has 56 characters (a seed begins with SU, and is \
                    never here)";
        check.refuse("nkey", text);
    }
    check.literal("inbox_prefix", &user.inbox(name));
    for (key, list) in [
        ("publish", &user.publish),
        ("subscribe", &user.subscribe),
        ("deny_publish", &user.deny_publish),
        ("deny_subscribe", &user.deny_subscribe),
    ] {
        for subject in list {
            // A subscription may name its queue group behind the subject.
            match subject.split_once(' ') {
                Some((subject, group)) if key.ends_with("subscribe") => {
                    check.subject(key, subject);
                    check.subject(key, group);
                }
                _ => check.subject(key, subject),
            }
        }
    }
    for text in &user.work {
        match Work::parse(text) {
            Ok(work) => {
                if let Err(error) = rights::of(&work, &check.declared.topology) {
                    check.refuse("work", format!("{text:?}: {error}"));
                }
            }
            Err(error) => check.refuse("work", error),
        }
    }
}

/// The user's account; empty where there is none to be in.
fn account(check: &mut Check<'_>, user: &User) -> String {
    let accounts = &check.declared.topology.accounts;
    if !user.account.is_empty() {
        if !accounts.contains_key(&user.account) {
            check.refuse("account", format!("no account {} is declared; add [accounts.{0}]", user.account));
        }
        return user.account.clone();
    }
    let mut plain = accounts.iter().filter(|(_, account)| !account.system).map(|(name, _)| name.clone());
    let first = plain.next();
    if plain.next().is_some() {
        check.refuse("account", "several accounts are declared; say which one it is in");
    }
    first.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::within;

    #[test]
    fn who_reads_an_inbox_reads_what_is_below_it() {
        assert!(within("_INBOX_a", "_INBOX_a") && within("_INBOX_a.b", "_INBOX_a"));
        assert!(!within("_INBOX_ab", "_INBOX_a") && !within("_INBOX_a", "_INBOX_a.b"));
    }
}
