//! `Image.List`, `Image.Get`, `Image.Delete`.

use dominator_protocol_core::{Delete, ErrorCode, GetImage, GetImageReply, List, ListReply, Method};
use dominator_protocol_quic::Connection;
use dominator_store_core::{Image, ImageId};

use crate::{Harness, PUBLISHER, image_of, publish::publish};

async fn list(connection: &Connection, prefix: &str, after: Option<&str>, limit: u64) -> (Vec<String>, bool) {
    let question = List { prefix: prefix.into(), after: after.map(str::to_owned), limit };
    let reply: ListReply = connection.ask(Method::ImageList, &question).await.unwrap();
    (reply.images.into_iter().map(|image| image.name).collect(), reply.more)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_comes_in_pages_and_in_order() {
    let harness = Harness::start();
    let connection = harness.connect("ci", PUBLISHER).await;
    let (image, _, records) = image_of(&[b"one"]);
    for name in ["b/2", "a", "b/1", "b/3", "c"] {
        publish(&connection, name, image, &records).await.unwrap();
    }
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(list(&connection, "", None, 1000).await, (names(&["a", "b/1", "b/2", "b/3", "c"]), false));
    assert_eq!(list(&connection, "b/", None, 2).await, (names(&["b/1", "b/2"]), true));
    assert_eq!(list(&connection, "b/", Some("b/2"), 2).await, (names(&["b/3"]), false));
    assert_eq!(list(&connection, "b/", Some("b/3"), 2).await, (names(&[]), false));
    assert_eq!(list(&connection, "", None, u64::MAX).await.0.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_found_by_name_until_it_is_deleted() {
    let harness = Harness::start();
    let connection = harness.connect("ci", PUBLISHER).await;
    let (image, root, records) = image_of(&[b"one"]);
    publish(&connection, "a", image, &records).await.unwrap();
    let get = GetImage { name: "a".into() };
    let reply: GetImageReply = connection.ask(Method::ImageGet, &get).await.unwrap();
    assert_eq!((reply.image, ImageId::of(&reply.encoded)), (image, image));
    assert_eq!(Image::decode(&reply.encoded).unwrap().root, root);

    let reader = harness.connect("reader", &["Image.Get", "Image.List"]).await;
    let mut call = reader.call(Method::ImageDelete).await.unwrap();
    call.feed(&Delete { name: "a".into() }).await.unwrap();
    call.finish().await.unwrap();
    assert_eq!(call.recv().await.unwrap_err().failure().unwrap().code, ErrorCode::Denied);

    let mut call = connection.call(Method::ImageDelete).await.unwrap();
    call.feed(&Delete { name: "a".into() }).await.unwrap();
    call.finish().await.unwrap();
    assert!(call.recv().await.unwrap().is_none());
    let gone = connection.ask::<_, GetImageReply>(Method::ImageGet, &get).await.unwrap_err();
    assert_eq!(gone.failure().unwrap().code, ErrorCode::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_name_is_a_bad_request_and_what_is_no_image_is_not_found() {
    let harness = Harness::start();
    let connection = harness.connect("ci", PUBLISHER).await;
    for (name, code) in [("../a", ErrorCode::BadRequest), ("", ErrorCode::BadRequest), ("none", ErrorCode::NotFound)] {
        let get = GetImage { name: name.into() };
        let error = connection.ask::<_, GetImageReply>(Method::ImageGet, &get).await.unwrap_err();
        assert_eq!(error.failure().unwrap().code, code, "{name:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_of_other_daemons_are_refused() {
    let harness = Harness::start();
    let connection = harness.connect("any", &["*"]).await;
    let mut call = connection.call(Method::MachinePoll).await.unwrap();
    call.finish().await.unwrap();
    assert_eq!(call.recv().await.unwrap_err().failure().unwrap().code, ErrorCode::BadRequest);
}
