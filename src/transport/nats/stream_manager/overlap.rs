//! Another stream that has the subjects of ours: which one, and what to do about it. It changes neither.

use async_nats::jetstream::Context;

use crate::config::settings::JetStream;
use crate::market::subject::stream_subjects;

/// What the server answers where another stream has a subject already.
pub(super) const CODE: u64 = 10_065;

/// A stream that has one of these subjects already, as far as the server says.
pub(super) async fn taken_by(context: &Context, subjects: &[String]) -> Option<String> {
    for subject in subjects {
        if let Ok(name) = context.stream_by_subject(subject.as_str()).await {
            return Some(name);
        }
    }
    None
}

/// What to do about a stream whose subjects another one has. Records wait meanwhile.
pub(super) fn cure(stream: &JetStream, taken: Option<&str>) -> String {
    let other = taken.map_or_else(|| "another stream".to_owned(), |name| format!("stream {name}"));
    let prefix = "or choose another subject_prefix; records wait until then";
    match stream.exchange() {
        Some(exchange) => format!(
            "; {other} takes {subjects} already, as one for all exchanges does: read out what it holds and delete it, \
             or take the subjects of {exchange} from it, or set transport.nats.jetstream.stream_per_exchange = false, \
             {prefix}",
            subjects = stream_subjects(&stream.subject_prefix, Some(exchange)).join(" and "),
        ),
        None if taken.is_some_and(|name| name.starts_with(&format!("{}_", stream.stream_name))) => format!(
            "; {other} takes some of these subjects already, as those of single exchanges do: set \
             transport.nats.jetstream.stream_per_exchange = true to go on with them, or delete them, {prefix}"
        ),
        None => {
            format!("; {other} takes these subjects already: publish to that stream (stream_name), delete it, {prefix}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_of_having_the_same_subjects_has_its_cure() {
        let all = JetStream::default();
        let text = cure(&all.of("okx"), Some("MARKET_DATA"));
        for word in ["stream MARKET_DATA takes market.okx.*.trades and market.okx.*.gaps", "delete it", "= false"] {
            assert!(text.contains(word), "{word:?} is not in {text:?}");
        }
        let text = cure(&all, Some("MARKET_DATA_OKX"));
        assert!(text.contains("stream_per_exchange = true") && text.contains("stream MARKET_DATA_OKX"), "{text}");
        let text = cure(&all, None);
        assert!(!text.contains("stream_per_exchange") && text.contains("another stream takes"), "{text}");
    }
}
