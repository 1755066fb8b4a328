//! Subjects with wildcards: whether they are well-formed, which covers which, and what two have in common.
//!
//! `*` stands for one token, `>` at the end for one or more.

/// What is wrong with a subject that may have wildcards.
pub(super) fn check(subject: &str) -> Result<(), String> {
    let told = |what: &str| Err(format!("{subject:?} {what}"));
    if subject.is_empty() {
        return told("is empty");
    }
    if subject.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return told("has white space; a subject is tokens with dots between them");
    }
    let tokens: Vec<&str> = subject.split('.').collect();
    if tokens.iter().any(|token| token.is_empty()) {
        return told("has an empty token; a dot stands between two tokens, none at the ends");
    }
    if tokens.iter().rev().skip(1).any(|token| *token == ">") {
        return told("has `>` in the middle; it stands for all tokens that follow, so only at the end");
    }
    match tokens.iter().find(|token| token.len() > 1 && (token.contains('*') || token.contains('>'))) {
        Some(token) => told(&format!("has {token:?}, which the server takes for a word: a wildcard is a whole token")),
        None => Ok(()),
    }
}

/// Whether everything on `inner` is also on `outer`.
#[must_use]
pub fn covers(outer: &str, inner: &str) -> bool {
    let mut inner = inner.split('.');
    for token in outer.split('.') {
        match (token, inner.next()) {
            (">", Some(_)) => return true,
            ("*", Some(other)) if other != ">" => {}
            (token, Some(other)) if token == other => {}
            _ => return false,
        }
    }
    inner.next().is_none()
}

/// What is on both, if anything can be.
pub(super) fn common(a: &str, b: &str) -> Option<String> {
    let (mut left, mut right) = (a.split('.').peekable(), b.split('.').peekable());
    let mut tokens = Vec::new();
    loop {
        match (left.next(), right.next()) {
            (None, None) => return Some(tokens.join(".")),
            (Some(">"), Some(other)) => {
                tokens.push(other);
                tokens.extend(right);
                return Some(tokens.join("."));
            }
            (Some(other), Some(">")) => {
                tokens.push(other);
                tokens.extend(left);
                return Some(tokens.join("."));
            }
            (Some("*"), Some(token)) | (Some(token), Some("*")) => tokens.push(token),
            (Some(one), Some(other)) if one == other => tokens.push(one),
            _ => return None,
        }
    }
}

/// Whether a subject can be on both.
pub(super) fn overlaps(a: &str, b: &str) -> bool {
    common(a, b).is_some()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn wildcards_stand_alone_and_the_tail_at_the_end() {
        for good in ["a", "a.b", "*.b", "a.>", ">", "$KV.x.>", "a-b_c"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["", ".a", "a.", "a..b", "a b", ">.a", "a.b*", "a>", "a.\u{7}"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_tail_stands_for_one_token_at_least() {
        assert!(covers("a.>", "a.b") && covers("a.>", "a.*.c") && covers(">", "a"));
        assert!(!covers("a.>", "a") && !covers("a.*", "a.>") && !covers("a.*", "a.b.c") && !covers("a.b", "a.*"));
        assert_eq!(common("market.>", "market.data.*").as_deref(), Some("market.data.*"));
        assert_eq!(common("*.b", "a.*").as_deref(), Some("a.b"));
        assert_eq!(common("a.>", "a"), None);
        assert_eq!(common("titan.data.market.>", "titan.data.venues.trades.v1.>"), None);
    }

    fn pattern() -> impl Strategy<Value = String> {
        let tokens = prop::collection::vec(prop::sample::select(vec!["a", "b", "*"]), 1..4);
        (tokens, any::<bool>()).prop_map(|(tokens, tail)| {
            let text = tokens.join(".");
            if tail { format!("{text}.>") } else { text }
        })
    }

    /// All subjects of up to five tokens of a small alphabet.
    fn all() -> Vec<String> {
        let mut list: Vec<String> = vec!["a".into(), "b".into()];
        let mut last = list.clone();
        for _ in 0..4 {
            last = last.iter().flat_map(|head| ["a", "b"].map(|token| format!("{head}.{token}"))).collect();
            list.extend(last.clone());
        }
        list
    }

    proptest! {
        #[test]
        fn what_is_common_is_what_is_on_both(a in pattern(), b in pattern()) {
            let both = common(&a, &b);
            for subject in all() {
                let expected = covers(&a, &subject) && covers(&b, &subject);
                prop_assert_eq!(both.as_ref().is_some_and(|both| covers(both, &subject)), expected, "{}", subject);
            }
        }

        #[test]
        fn who_covers_has_everything_of_the_other(a in pattern(), b in pattern()) {
            if covers(&a, &b) {
                for subject in all().iter().filter(|subject| covers(&b, subject)) {
                    prop_assert!(covers(&a, subject), "{}", subject);
                }
            } else {
                // Of what is on `b`, something is not on `a`: `c` is any other word.
                let other = b.replace(['*', '>'], "c");
                prop_assert!(!covers(&a, &other) || b.ends_with('>'), "{}", other);
            }
        }
    }
}
