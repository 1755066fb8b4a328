//! One epoch's connection: what is published on it, what is answered on it, what becomes of it.
//!
//! It decides nothing. When it is dropped, nothing of it is used again.

use std::cell::RefCell;

use async_nats::{Client, Event, HeaderMap, HeaderValue, Subject, header};
use futures_util::StreamExt as _;
use tokio::sync::mpsc;

use super::connect::{self, ConnectError};
use super::window::{Answer, Expect, Key, Send};
use super::wire::{self, Asked, Replies, Subjects};
use crate::config::settings::Nats;

/// Events of a connection that wait to be handled; more of them say nothing new.
const EVENTS: usize = 64;

/// A connection with its inbox.
pub(super) struct Link {
    client: Client,
    inbox: async_nats::Subscriber,
    replies: RefCell<Replies>,
    events: mpsc::Receiver<Event>,
    message_ids: bool,
    id: RefCell<String>,
}

/// What came in on a link.
pub(super) enum Came {
    /// An answer to a publish.
    Answer(Asked, Result<Answer, String>),
    /// The connection is not what it was.
    Gone(String),
    /// The server said something that ends nothing.
    Word(String),
}

/// Why a publish was not taken by the client.
pub(super) enum NotSent {
    /// It is larger than the server takes.
    TooLarge,
    /// The connection is over.
    Gone(String),
}

impl Link {
    /// Dials and subscribes the inbox. `run` makes batch ids unique to this publisher's life.
    pub(super) async fn open(settings: &Nats, run: &str) -> Result<Self, ConnectError> {
        let (tell, events) = mpsc::channel(EVENTS);
        let client = connect::dial_with(settings, move |event| {
            let _ = tell.try_send(event);
        })
        .await?;
        let replies = Replies::new(&client.new_inbox(), run);
        let inbox = client.subscribe(replies.wildcard()).await.map_err(|error| ConnectError::Refused {
            servers: settings.servers.join(","),
            reason: format!("cannot subscribe to its inbox: {error}"),
        })?;
        Ok(Self {
            client,
            inbox,
            replies: RefCell::new(replies),
            events,
            message_ids: settings.message_ids,
            id: RefCell::new(String::with_capacity(64)),
        })
    }

    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    /// Name and version of the server, for people.
    pub(super) fn server(&self) -> String {
        let info = self.client.server_info();
        // A server without a name of its own goes by its id, which tells people nothing.
        let name = if info.server_name == info.server_id { String::new() } else { format!("{} ", info.server_name) };
        format!("{}:{} ({name}{})", info.host, info.port, info.version)
    }

    /// Publishes; waits only while the client's own queue is full.
    pub(super) async fn send(&self, subjects: &Subjects, send: Send) -> Result<(), NotSent> {
        let Some(subject) = subjects.of(send.key).cloned() else {
            return Err(NotSent::Gone("no subject for this route".to_owned()));
        };
        let reply = self.replies.borrow_mut().subject(send.reply);
        let headers = self.headers(&send);
        let client = &self.client;
        let sent = match headers {
            Some(headers) => client.publish_with_reply_and_headers(subject, reply, headers, send.payload).await,
            None => client.publish_with_reply(subject, reply, send.payload).await,
        };
        sent.map_err(|error| match error.kind() {
            async_nats::client::PublishErrorKind::MaxPayloadExceeded => NotSent::TooLarge,
            _ => NotSent::Gone(error.to_string()),
        })
    }

    /// Publishes the end of a batch that another connection may have left open.
    pub(super) async fn fence(&self, subjects: &Subjects, batch: u64) -> Result<(), String> {
        let subject: Subject = subjects.of(Key::trades(0)).cloned().ok_or("no instruments")?;
        let reply = self.replies.borrow_mut().batch(batch, 1, 1 << 40, super::window::BatchOp::End);
        let sent = self.client.publish_with_reply(subject, reply, bytes::Bytes::new()).await;
        sent.map_err(|error| error.to_string())
    }

    /// The next thing that comes in.
    pub(super) async fn next(&mut self) -> Came {
        tokio::select! {
            biased;
            event = self.events.recv() => match event {
                Some(event) => heard(event),
                None => Came::Gone("the connection ended".to_owned()),
            },
            message = self.inbox.next() => match message {
                Some(message) => self.read(&message),
                None => Came::Gone("the connection ended".to_owned()),
            },
        }
    }

    fn read(&self, message: &async_nats::Message) -> Came {
        let Some(asked) = self.replies.borrow().read(&message.subject) else {
            return Came::Word(format!("an answer on {} that nobody asked for", message.subject));
        };
        let status = message.status.map(|status| status.as_u16());
        Came::Answer(asked, wire::answer(asked, status, &message.payload))
    }

    /// Never `Nats-Expected-Last-Msg-Id`: where a stream has copies they alone check it, and from 2.14 on a server that
    /// finds it wrong then stops the stream for good.
    fn headers(&self, send: &Send) -> Option<HeaderMap> {
        let with_id = self.message_ids && !send.payload.is_empty() && !send.denied;
        if !with_id && send.expect.is_none() {
            return None;
        }
        let mut headers = HeaderMap::new();
        match send.expect {
            Some(Expect::LastSequence(seq)) => {
                headers.insert(header::NATS_EXPECTED_LAST_SEQUENCE, HeaderValue::from(seq))
            }
            Some(Expect::LastSubjectSequence(seq)) => {
                headers.insert(header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, HeaderValue::from(seq))
            }
            None => {}
        }
        if with_id {
            let mut id = self.id.borrow_mut();
            wire::message_id(&send.payload, &mut id);
            headers.insert(header::NATS_MESSAGE_ID, id.as_str());
        }
        Some(headers)
    }
}

fn heard(event: Event) -> Came {
    match event {
        Event::Disconnected => Came::Gone("connection lost".to_owned()),
        Event::Closed => Came::Gone("the connection was closed".to_owned()),
        Event::LameDuckMode => Came::Gone("the server is about to stop (lame duck)".to_owned()),
        // A publish that is not permitted gets no answer but this one.
        Event::ServerError(error) => {
            let text = error.to_string();
            let hint = if text.to_ascii_lowercase().contains("violation for subscription") {
                "; set transport.nats.inbox_prefix to one that this user may subscribe to"
            } else {
                ""
            };
            Came::Gone(format!("the server says: {text}{hint}"))
        }
        Event::ClientError(error) => Came::Word(error.to_string()),
        other => Came::Word(other.to_string()),
    }
}
