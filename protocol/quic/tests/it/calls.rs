//! Calls of every shape, between two sides that trust each other.

use std::{sync::Arc, sync::atomic::Ordering, time::Duration};

use dominator_protocol_core::{
    Commit, ErrorCode, Get, GetImage, GetImageReply, ListMachines, Message, Method, Object, Offer, Poll, Published,
    Trees, Unchanged, Update, Want,
};
use dominator_protocol_quic::{Client, Error, Settings};
use dominator_store_core::{Digest, ImageId, ObjectId, ObjectKind};

use crate::fleet::{ALL, Echo, Fleet, SERVER_NAME, any_port, chunk, connect, serve, soon};

#[tokio::test]
async fn a_question_is_answered_and_counted() {
    let fleet = Fleet::new();
    let (_server, connection) = fleet.pair(ALL).await;
    assert_eq!(connection.identity().name, "server");
    let question = GetImage { name: "debian/v1".into() };
    let reply: GetImageReply = soon(connection.ask(Method::ImageGet, &question)).await.unwrap();
    assert_eq!(reply.name, "debian/v1");
    assert!(connection.sent_len() > 20 && connection.received_len() > 150);
    assert!(connection.udp_received_len() > connection.received_len());
}

#[tokio::test]
async fn an_idle_poll_costs_less_than_ninety_bytes() {
    let fleet = Fleet::new();
    let (_server, connection) = fleet.pair(ALL).await;
    let poll = Poll { known: Some(Digest::of(b"state")) };
    let _: Unchanged = soon(connection.ask(Method::MachinePoll, &poll)).await.unwrap();
    let len = connection.sent_len() + connection.received_len();
    assert!(len < 90, "{len} bytes");
}

#[tokio::test]
async fn a_publish_streams_both_ways() {
    let fleet = Fleet::new();
    let (_server, connection) = fleet.pair(ALL).await;
    let (mut sender, mut receiver) = connection.call(Method::ImagePublish).await.unwrap().split();
    let ids: Vec<ObjectId> = (0..10_000).map(chunk).collect();
    let published = soon(async {
        let (wanted_tx, mut wanted_rx) = tokio::sync::mpsc::unbounded_channel();
        let reader = tokio::spawn({
            let ids = ids.clone();
            async move {
                for batch in ids.chunks(700) {
                    let want: Want = receiver.expect().await.unwrap();
                    let flags = want.flags(batch.len()).unwrap();
                    wanted_tx.send(flags.iter().filter(|wanted| **wanted).count()).unwrap();
                }
                drop(wanted_tx);
                let published: Published = receiver.expect().await.unwrap();
                assert_eq!(receiver.recv().await.unwrap(), None);
                published
            }
        });
        for batch in ids.chunks(700) {
            sender.send(&Offer { ids: batch.to_vec() }).await.unwrap();
        }
        while let Some(count) = wanted_rx.recv().await {
            for _ in 0..count {
                sender.feed_object(&[1; 500]).await.unwrap();
            }
        }
        sender.send(&Commit { name: "debian/v1".into(), image: ImageId::of(b"image") }).await.unwrap();
        sender.finish().await.unwrap();
        reader.await.unwrap()
    })
    .await;
    let expected = ids.iter().filter(|id| id.digest.as_bytes()[0] % 2 == 0).count() as u64;
    assert_eq!(published, Published { stored_len: 500 * expected, new_object_count: expected });
}

#[tokio::test]
async fn a_fetch_asks_and_takes_at_once_and_keeps_the_order() {
    let fleet = Fleet::new();
    let server = fleet.serve(Arc::new(Echo { object_len: 20_000, ..Echo::default() }));
    let connection = connect(&server, &fleet.credentials("client", ALL)).await.unwrap();
    let ids: Vec<ObjectId> = (0..2000)
        .map(|number| match number % 5 {
            0 => ObjectId { kind: ObjectKind::Tree, ..chunk(number) },
            _ => chunk(number),
        })
        .collect();
    let mut call = connection.call(Method::ObjectGet).await.unwrap();
    let (sender, receiver) = call.halves();
    let ask = async {
        for ids in ids.chunks(100) {
            sender.send(&Get { ids: ids.to_vec() }).await?;
        }
        sender.finish().await
    };
    let take = async {
        for id in &ids {
            match receiver.recv().await? {
                Some(Message::Object(Object(record))) => {
                    assert_eq!((id.kind, record.len()), (ObjectKind::Chunk, 20_000));
                }
                Some(Message::Absent(absent)) => assert_eq!(absent.digest, id.digest),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(receiver.recv().await?, None);
        Ok::<_, Error>(())
    };
    soon(async { tokio::try_join!(ask, take) }).await.unwrap();
    assert!(call.received_len() > 1600 * 20_000);
}

#[tokio::test]
async fn a_failure_arrives_with_code_text_and_hint() {
    let fleet = Fleet::new();
    let (_server, connection) = fleet.pair(ALL).await;
    let question = GetImage { name: "none".into() };
    let error = soon(connection.ask::<_, GetImageReply>(Method::ImageGet, &question)).await.unwrap_err();
    let failure = error.failure().unwrap();
    assert_eq!(failure.code, ErrorCode::NotFound);
    assert_eq!(error.to_string(), "not found: no image none");
    assert_eq!(failure.hint.as_deref(), Some("publish it first"));
}

#[tokio::test]
async fn a_failure_reaches_a_caller_who_is_still_sending() {
    let fleet = Fleet::new();
    let (_server, connection) = fleet.pair(ALL).await;
    let mut call = connection.call(Method::ImagePublish).await.unwrap();
    call.feed_object(&[0xff; 10]).await.unwrap();
    let error = soon(async {
        loop {
            if let Err(error) = call.feed_object(&[1; 100_000]).await {
                return error;
            }
        }
    })
    .await;
    assert_eq!(error.failure().unwrap().code, ErrorCode::Corrupt);
}

#[tokio::test]
async fn an_object_of_the_greatest_length_passes() {
    let fleet = Fleet::new();
    let object_len = dominator_protocol_core::limits::RECORD_LEN_MAX;
    let server = fleet.serve(Arc::new(Echo { object_len, ..Echo::default() }));
    let connection = connect(&server, &fleet.credentials("client", ALL)).await.unwrap();
    let object: Object = soon(connection.ask(Method::ObjectGet, &Get { ids: vec![chunk(1)] })).await.unwrap();
    assert_eq!(object.0.len(), object_len);
    let mut call = connection.call(Method::ImagePublish).await.unwrap();
    call.feed_object(&object.0).await.unwrap();
    assert!(matches!(call.feed_object(&[&object.0[..], &[0]].concat()).await, Err(Error::TooLarge { .. })));
    call.send(&Commit { name: "big".into(), image: ImageId::of(b"") }).await.unwrap();
    let published: Published = soon(call.expect()).await.unwrap();
    assert_eq!(published.stored_len, object_len as u64);
}

#[tokio::test]
async fn a_call_past_its_deadline_fails_and_the_connection_lives() {
    let fleet = Fleet::new();
    let (_server, connection) = fleet.pair(ALL).await;
    let mut call = connection.call_within(Method::MachineTrees, Duration::from_millis(50)).await.unwrap();
    call.send(&Trees { ids: vec![] }).await.unwrap();
    let error = soon(call.recv()).await.unwrap_err();
    assert_eq!(error.failure().unwrap().code, ErrorCode::Timeout);
    let _: Unchanged = soon(connection.ask(Method::MachinePoll, &Poll { known: None })).await.unwrap();
}

#[tokio::test]
async fn a_call_without_progress_ends_at_both_sides() {
    let fleet = Fleet::new();
    let settings = Settings { call_idle_timeout: Duration::from_millis(200), ..Settings::default() };
    let echo = Arc::new(Echo::default());
    let server = serve(&fleet.credentials("server", &[]), Arc::clone(&echo), settings.clone());
    let client = Client::bind(any_port(), &fleet.credentials("client", ALL), settings).unwrap();
    let connection = client.connect(server.local_addr().unwrap(), SERVER_NAME).await.unwrap();
    // The service is silent.
    let trees = Trees { ids: vec![] };
    let error = soon(connection.ask_message(Method::MachineTrees, &trees)).await.unwrap_err();
    assert!(matches!(error, Error::Idle { .. }), "{error}");
    // The caller is silent: the service gives up, and says so to a caller who has more patience.
    let patient = connect(&server, &fleet.credentials("patient", ALL)).await.unwrap();
    let mut call = patient.call(Method::ImagePublish).await.unwrap();
    call.flush().await.unwrap();
    let error = soon(call.recv()).await.unwrap_err();
    assert_eq!(error.failure().unwrap().code, ErrorCode::Timeout);
}

#[tokio::test]
async fn a_service_that_panics_costs_its_own_call_only() {
    let fleet = Fleet::new();
    let (_server, connection) = fleet.pair(ALL).await;
    let update = Update { generation: 1, image: ImageId::of(b""), force_unsafe: false };
    let error = soon(connection.ask_message(Method::MachineUpdate, &update)).await.unwrap_err();
    assert!(matches!(error, Error::Truncated), "{error}");
    let _: Unchanged = soon(connection.ask(Method::MachinePoll, &Poll { known: None })).await.unwrap();
}

#[tokio::test]
async fn many_calls_over_many_connections() {
    let fleet = Fleet::new();
    let echo = Arc::new(Echo::default());
    let server = fleet.serve(Arc::clone(&echo));
    let credentials = fleet.credentials("client", ALL);
    let client = Client::bind(any_port(), &credentials, Settings::default()).unwrap();
    let address = server.local_addr().unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let connection = client.connect(address, SERVER_NAME).await.unwrap();
        for number in 0..200 {
            let connection = connection.clone();
            tasks.spawn(async move {
                let question = GetImage { name: format!("image/{number}") };
                let reply: GetImageReply = connection.ask(Method::ImageGet, &question).await.unwrap();
                assert_eq!(reply.name, question.name);
            });
        }
    }
    soon(async { while tasks.join_next().await.transpose().unwrap().is_some() {} }).await;
    assert_eq!(echo.call_count.load(Ordering::Relaxed), 2000);
}

#[tokio::test]
async fn a_method_without_permission_is_denied_before_the_service() {
    let fleet = Fleet::new();
    let echo = Arc::new(Echo::default());
    let server = fleet.serve(Arc::clone(&echo));
    let connection = connect(&server, &fleet.credentials("web-7", &["Object.*", "Image.List"])).await.unwrap();
    let question = GetImage { name: "debian/v1".into() };
    let error = soon(connection.ask_message(Method::ImageGet, &question)).await.unwrap_err();
    assert_eq!(error.to_string(), "denied: Image.Get is not allowed for web-7");
    let hint = error.failure().unwrap().hint.as_deref();
    assert_eq!(hint, Some("a certificate with the permission Image.Get is needed"));
    let error = soon(connection.ask_message(Method::FleetList, &ListMachines {})).await.unwrap_err();
    assert_eq!(error.failure().unwrap().code, ErrorCode::Denied);
    assert_eq!(echo.call_count.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_name_outside_the_scope_is_denied() {
    let fleet = Fleet::new();
    let (_server, connection) = fleet.pair(&["Image.Get@debian/*", "Image.Publish@debian/*"]).await;
    let ask = |name: &str| {
        let (connection, question) = (connection.clone(), GetImage { name: name.to_owned() });
        async move { soon(connection.ask::<_, GetImageReply>(Method::ImageGet, &question)).await }
    };
    assert!(ask("debian/v1").await.is_ok());
    let error = ask("ubuntu/v1").await.unwrap_err();
    assert_eq!(error.to_string(), "denied: Image.Get is not allowed for client");
    let hint = error.failure().unwrap().hint.as_deref();
    assert_eq!(hint, Some("a certificate with the permission Image.Get@ubuntu/v1 is needed"));
    let commit = Commit { name: "ubuntu/v1".into(), image: ImageId::of(b"") };
    let error = soon(connection.ask_message(Method::ImagePublish, &commit)).await.unwrap_err();
    assert_eq!(error.failure().unwrap().code, ErrorCode::Denied);
}

#[tokio::test]
async fn closing_a_server_ends_its_connections() {
    let fleet = Fleet::new();
    let (server, connection) = fleet.pair(ALL).await;
    let _: Unchanged = soon(connection.ask(Method::MachinePoll, &Poll { known: None })).await.unwrap();
    server.close();
    let error = soon(connection.closed()).await;
    assert!(matches!(error, Error::Closed { .. }) && error.is_transient(), "{error}");
    assert!(!connection.is_open());
    assert!(connection.ask_message(Method::MachinePoll, &Poll { known: None }).await.is_err());
    assert!(soon(server.accept()).await.is_none());
}

#[tokio::test]
async fn a_host_and_port_is_resolved_and_the_certificate_is_for_the_host() {
    let fleet = Fleet::new();
    let server = fleet.serve(Arc::new(Echo::default()));
    let port = server.local_addr().unwrap().port();
    let bind = "[::]:0".parse().unwrap();
    let client = Client::bind(bind, &fleet.credentials("client", ALL), Settings::default()).unwrap();
    let connection = soon(client.connect_to(&format!("127.0.0.1:{port}"), None)).await.unwrap();
    let _: Unchanged = soon(connection.ask(Method::MachinePoll, &Poll { known: None })).await.unwrap();
    soon(client.connect_to(&format!("127.0.0.1:{port}"), Some(SERVER_NAME))).await.unwrap();
    let error = soon(client.connect_to("no port", None)).await.unwrap_err();
    assert!(matches!(error, Error::Resolve { .. }), "{error}");
}
