//! The end of a topic partition as librdkafka knows it from fetching. rdkafka offers only the call
//! that asks the brokers.
#![allow(
    unsafe_code,
    reason = "the only way to librdkafka's get_watermark_offsets; its arguments live longer than the call"
)]

use std::ffi::CString;

use rdkafka::bindings as ffi;
use rdkafka::consumer::Consumer as _;

use super::context::Consumer;

/// The end of `partition` of `topic` at the last fetch.
pub(super) fn known_end(consumer: &Consumer, topic: &str, partition: i32) -> Option<i64> {
    let name = CString::new(topic).ok()?;
    let (mut low, mut high) = (-1, -1);
    let client = consumer.client().native_ptr();
    // SAFETY: `client` lives as long as `consumer`; the name and both numbers live until the call
    // returns, and it keeps none of them.
    let code = unsafe {
        ffi::rd_kafka_get_watermark_offsets(client, name.as_ptr(), partition, &mut low, &mut high)
    };
    // Negative while it is unknown.
    (code == ffi::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some(high)
}
