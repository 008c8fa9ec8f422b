package metrics

import (
	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/presence"
)

var presenceMetrics = []metric[presence.Stats]{
	{"rollcall_presence_users", gauge, "", "Users in memory: those who are online, or have a change that is not told or stored yet.",
		one(func(s *presence.Stats) int { return s.Users })},
	{"rollcall_presence_watching", gauge, "", "Sessions that watch.",
		one(func(s *presence.Stats) int { return s.Watching })},
	{"rollcall_presence_requests_waiting", gauge, "", "Requests that are not answered yet.",
		one(func(s *presence.Stats) int { return s.Waiting })},
	{"rollcall_presence_requests_busy_total", counter, "", "Requests refused because too many waited.",
		one(func(s *presence.Stats) uint64 { return s.Busy })},
	{"rollcall_presence_changes_total", counter, "", "Changes of users' states that ticks have found.",
		one(func(s *presence.Stats) uint64 { return s.Changes })},
	{"rollcall_presence_told_total", counter, "", "Pairs of a change and a watcher that were told.",
		one(func(s *presence.Stats) uint64 { return s.Told })},
	{"rollcall_presence_notices_total", counter, "", "Notices, as messages to one session each.",
		one(func(s *presence.Stats) uint64 { return s.Frames })},
	{"rollcall_presence_failures_total", counter, "", "Calls of Store and Contacts that have failed, panicked or not returned in time.",
		one(func(s *presence.Stats) uint64 { return s.Failures })},
	{"rollcall_presence_panics_total", counter, "", "Calls of Changed that panicked or called runtime.Goexit.",
		one(func(s *presence.Stats) uint64 { return s.Panics })},
}

var chatMetrics = []metric[chat.Stats]{
	{"rollcall_chat_stored_total", counter, "", "Messages and recalls that were stored.",
		one(func(s *chat.Stats) uint64 { return s.Stored })},
	{"rollcall_chat_recalled_total", counter, "", "Recalls among those.",
		one(func(s *chat.Stats) uint64 { return s.Recalled })},
	{"rollcall_chat_repeated_total", counter, "", "Messages and recalls that were stored already.",
		one(func(s *chat.Stats) uint64 { return s.Repeated })},
	{"rollcall_chat_refused_total", counter, "", "Messages and recalls that were refused, or not stored.",
		one(func(s *chat.Stats) uint64 { return s.Refused })},
	{"rollcall_chat_delivered_total", counter, "", "Messages and notices, as messages to one session each.",
		one(func(s *chat.Stats) uint64 { return s.Delivered })},
	{"rollcall_chat_batches_total", counter, "", "Transactions that have stored messages and recalls.",
		one(func(s *chat.Stats) uint64 { return s.Batches })},
	{"rollcall_chat_requests_waiting", gauge, "", "Requests of clients that are not answered yet.",
		one(func(s *chat.Stats) int { return s.Waiting })},
	{"rollcall_chat_requests_busy_total", counter, "", "Requests refused because too many waited.",
		one(func(s *chat.Stats) uint64 { return s.Busy })},
	{"rollcall_chat_failures_total", counter, "", "Calls of the store that have failed, panicked or not returned in time.",
		one(func(s *chat.Stats) uint64 { return s.Failures })},
	{"rollcall_chat_panics_total", counter, "", "Calls of Handlers and SetUp that panicked or called runtime.Goexit.",
		one(func(s *chat.Stats) uint64 { return s.Panics })},
}
