//! Tests of RTCP.
