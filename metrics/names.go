package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/push"
	"github.com/rollcall-go/rollcall/usermgr"
)

const (
	counter = prometheus.CounterValue
	gauge   = prometheus.GaugeValue
)

var engineMetrics = []metric[engine.Stats]{
	{"rollcall_connections", gauge, "state", "Open connections.", func(s *engine.Stats, put put) {
		put(float64(s.Conns.Accepted), "accepted")
		put(float64(s.Conns.Verifying), "verifying")
		put(float64(s.Conns.Bound), "bound")
		put(float64(s.Conns.Closing), "closing")
	}},
	{"rollcall_connections_by_transport", gauge, "transport", "The same connections, by what their bytes go through.",
		func(s *engine.Stats, put put) {
			for name, n := range s.Transports {
				put(float64(n), name)
			}
		}},
	{"rollcall_connections_accepted_total", counter, "", "Connections that came in.",
		one(func(s *engine.Stats) uint64 { return s.Accepted })},
	{"rollcall_connections_refused_total", counter, "reason", "Connections that were not let in.",
		func(s *engine.Stats, put put) {
			r := s.Refused
			put(float64(r.Full), "full")
			put(float64(r.Address), "address")
			put(float64(r.Subnet), "subnet")
			put(float64(r.Banned), "banned")
			put(float64(r.Proxy), "proxy")
			put(float64(r.Hook), "hook")
			put(float64(r.Handshake), "handshake")
			put(float64(r.Failed), "failed")
		}},
	{"rollcall_connections_probes_total", counter, "", "Connections that ended before a byte came, which are among those refused or closed too.",
		one(func(s *engine.Stats) uint64 { return s.Probes })},
	{"rollcall_datagrams_lost_total", counter, "", "Datagrams of clients over UDP that have not come, by their numbers, or came late.",
		one(func(s *engine.Stats) uint64 { return s.Lost })},
	{"rollcall_handshakes", gauge, "state", "Connections in their handshake, or waiting for its turn.",
		func(s *engine.Stats, put put) {
			put(float64(s.Conns.Handshaking), "running")
			put(float64(s.Conns.HandshakesWaiting), "waiting")
		}},
	{"rollcall_bans", gauge, "", "Addresses that are banned.", one(func(s *engine.Stats) int { return s.Bans })},
	{"rollcall_connections_closed_total", counter, "code", "Connections that are over, by the close code that ended them.",
		byCode(func(s *engine.Stats) map[protocol.CloseCode]uint64 { return s.Closed })},
	{"rollcall_connection_outcomes_total", counter, "outcome", "Connections that are over, by what became of the notice.",
		func(s *engine.Stats, put put) {
			put(float64(s.Outcomes[protocol.OutcomeTold]), "told")
			put(float64(s.Outcomes[protocol.OutcomeClosedByPeer]), "closed_by_peer")
			put(float64(s.Outcomes[protocol.OutcomeForced]), "forced")
		}},
	{"rollcall_received_messages_total", counter, "", "Messages received, without upkeep such as heartbeats.",
		one(func(s *engine.Stats) uint64 { return s.In.Messages })},
	{"rollcall_received_bytes_total", counter, "", "Bytes of the messages received, with headers.",
		one(func(s *engine.Stats) uint64 { return s.In.Bytes })},
	{"rollcall_sent_messages_total", counter, "", "Messages handed to the network, without upkeep.",
		one(func(s *engine.Stats) uint64 { return s.Out.Messages })},
	{"rollcall_sent_bytes_total", counter, "", "Bytes of the messages handed to the network, with headers.",
		one(func(s *engine.Stats) uint64 { return s.Out.Bytes })},
	{"rollcall_dropped_messages_total", counter, "", "Messages thrown away since their clients did not keep up.",
		one(func(s *engine.Stats) uint64 { return s.Dropped.Messages })},
	{"rollcall_dropped_bytes_total", counter, "", "Bytes of the messages thrown away since their clients did not keep up.",
		one(func(s *engine.Stats) uint64 { return s.Dropped.Bytes })},
	{"rollcall_inbound_queue_bytes", gauge, "", "Bytes of messages that wait for workers.",
		one(func(s *engine.Stats) int64 { return s.InboundQueue })},
	{"rollcall_outbound_queue_bytes", gauge, "", "Bytes that wait for clients that do not keep up.",
		one(func(s *engine.Stats) int64 { return s.OutboundQueue })},
	{"rollcall_handler_panics_total", counter, "", "Message handlers and other callbacks of the engine that panicked or called runtime.Goexit.",
		one(func(s *engine.Stats) uint64 { return s.HandlerPanics })},
	{"rollcall_handler_errors_total", counter, "", "Messages whose handlers returned an error.",
		one(func(s *engine.Stats) uint64 { return s.HandlerErrors })},
	{"rollcall_loop_stalls_total", counter, "", "Times that an event loop was stuck in a message handler.",
		one(func(s *engine.Stats) uint64 { return s.Stalls })},
}

var userMetrics = []metric[usermgr.Stats]{
	{"rollcall_users", gauge, "", "Users who are online.", one(func(s *usermgr.Stats) int { return s.Users })},
	{"rollcall_sessions", gauge, "device", "Live sessions, by device class; other is all that the application does not name.", byDevice},
	{"rollcall_sessions_started_total", counter, "", "Sessions that have begun.",
		one(func(s *usermgr.Stats) uint64 { return s.Logons })},
	{"rollcall_sessions_ended_total", counter, "code", "Sessions that are over, by the close code that ended them.",
		byCode(func(s *usermgr.Stats) map[protocol.CloseCode]uint64 { return s.Disconnected })},
	{"rollcall_sessions_refused_total", counter, "code", "Logons that the user manager refused, by close code.",
		byCode(func(s *usermgr.Stats) map[protocol.CloseCode]uint64 { return s.Refused })},
	{"rollcall_event_handler_panics_total", counter, "", "Event handlers and other callbacks of the user manager that panicked or called runtime.Goexit.",
		one(func(s *usermgr.Stats) uint64 { return s.HandlerPanics })},
	{"rollcall_handlers_given_up_total", counter, "", "Sessions whose last message handler did not return in time.",
		one(func(s *usermgr.Stats) uint64 { return s.HandlersFrozen })},
}

var bridgeMetrics = []metric[bridge.LogonStats]{
	{"rollcall_logons_in_progress", gauge, "", "Logons under way.", one(func(s *bridge.LogonStats) int { return s.LoggingOn })},
	{"rollcall_authenticators_running", gauge, "", "Authenticators that run.",
		one(func(s *bridge.LogonStats) int { return s.Authenticating })},
	{"rollcall_logons_refused_total", counter, "code", "Logons that came to nothing, by close code.",
		byCode(func(s *bridge.LogonStats) map[protocol.CloseCode]uint64 { return s.Refused })},
	{"rollcall_authenticator_panics_total", counter, "", "Authenticators that panicked or called runtime.Goexit.",
		one(func(s *bridge.LogonStats) uint64 { return s.AuthenticatorPanics })},
}

var pushMetrics = []metric[push.Stats]{
	{"rollcall_pushes_waiting", gauge, "", "Pushes that wait for an acknowledgement, kept or not; one to several users counts once a user.",
		one(func(s *push.Stats) int { return s.Waiting })},
	{"rollcall_pushes_kept", gauge, "", "Of those, pushes that are kept for their users.",
		one(func(s *push.Stats) int { return s.Kept })},
	{"rollcall_pushes_kept_bytes", gauge, "", "What the kept pushes take.",
		one(func(s *push.Stats) int64 { return s.KeptBytes })},
	{"rollcall_pushes_confirmed_total", counter, "", "Sessions that have acknowledged a push.",
		one(func(s *push.Stats) uint64 { return s.Confirmed })},
	{"rollcall_pushes_unconfirmed_total", counter, "", "Sessions that were to acknowledge a push, and were given up on.",
		one(func(s *push.Stats) uint64 { return s.Unconfirmed })},
	{"rollcall_pushes_expired_total", counter, "", "Kept pushes whose time was over.",
		one(func(s *push.Stats) uint64 { return s.Expired })},
	{"rollcall_pushes_refused_total", counter, "", "Pushes that were not kept, or not sent, for want of room.",
		one(func(s *push.Stats) uint64 { return s.Refused })},
	{"rollcall_pushes_again_total", counter, "", "Times that a kept push went to another session than the first.",
		one(func(s *push.Stats) uint64 { return s.Again })},
	{"rollcall_push_panics_total", counter, "", "Pushers, and functions that Go tells, that panicked or called runtime.Goexit.",
		one(func(s *push.Stats) uint64 { return s.Panics })},
}
