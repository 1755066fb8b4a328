//! The last records that the stream has of some instruments.

use async_nats::Client;
use async_nats::jetstream;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::connect::Chain;
use super::consumer::{Item, TailError};
use super::take::{Queue, Subjects};
use crate::config::settings::JetStream;
use crate::market::{SubjectKind, subject};

/// Subjects that are asked for at the same time.
const AT_ONCE: usize = 64;

/// The last trades and the last gaps of some instruments (exchange and symbol), each as its last message has it; none
/// of what is not stored.
///
/// # Errors
/// [`TailError`] when the server does not say.
pub async fn last_records(
    client: Client,
    settings: JetStream,
    names: Vec<(String, String)>,
) -> Result<Vec<Item>, TailError> {
    let name = settings.stream_name;
    let fail = |reason: String| TailError::Read { stream: name.clone(), reason };
    let stream = jetstream::new(client).get_stream_no_info(&name).await.map_err(|e| fail(Chain(&e).to_string()))?;
    let prefix = &settings.subject_prefix;
    let mut wanted = Vec::with_capacity(2 * names.len());
    for (exchange, symbol) in &names {
        let kinds = [SubjectKind::Trades, SubjectKind::Gaps];
        wanted.extend(kinds.map(|kind| subject::subject(prefix, exchange, symbol, kind)));
    }
    let (stream, fail) = (&stream, &fail);
    let ask = |subject: String| async move {
        match stream.get_last_raw_message_by_subject(&subject).await {
            Ok(message) => Ok(Some(message)),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(fail(Chain(&error).to_string())),
        }
    };
    let asked: Vec<_> = futures_util::stream::iter(wanted).map(ask).buffer_unordered(AT_ONCE).try_collect().await?;
    let (mut subjects, mut queue) = (Subjects::new(prefix), Queue::new());
    let mut found = Vec::new();
    for message in asked.into_iter().flatten() {
        subjects.take(message.sequence, &message.subject, &message.payload, &mut queue);
        found.extend(queue.drain(..).next_back().and_then(Result::ok));
    }
    Ok(found)
}
