//go:build linux

package main

import (
	"errors"
	"fmt"

	"github.com/rollcall-go/rollcall/bench/internal/report"
)

// keptMessages measures package chat with its stores.
func keptMessages(b *bench) (report.Section, error) {
	s := report.Section{Intro: `
The benchmarks of package chat and of its stores: what they measure is said in their comments. A receiver is a member of a group of 200 that gets a message; all
members are online, and the store is in memory. The large group has 10,000 members, of whom 100 are online; the time ends when the last client has its message. A server with
a store keeps the messages of 50 groups of 20 users, and answers and delivers each; its clients are another process on the same processors, and 1,000 messages are 19,000
deliveries, or 1,000 where they are for one user each. SQLite syncs each commit to a file on this machine's disk, and so does PostgreSQL, 15, over a Unix socket, but for the watchers. A page has
50 messages. The processes that have a store have a heap of 64 MB: see performance.md. The watchers are those of a user with 100 friends, 2 million rows in all. Each figure is the median of three runs.`}
	var chat, lite, postgres figures
	const ofStores = "^Benchmark(Append|Server|History|Join|Watchers)$"
	if err := errors.Join(b.goBench(&chat, ".", "./chat", "^Benchmark(Receiver|LargeGroup)$", "2s"),
		b.goBench(&lite, "chat/sqlstore", "./sqlite", ofStores, "3s"),
		b.goBench(&postgres, "chat/sqlstore", "./postgres", ofStores, "3s")); err != nil {
		return s, err
	}
	s.Targets = []report.Target{
		upTo("a receiver of a group of 200, one message at a time", chat.of("Receiver/1_in_flight", "cpu-ns/receiver")/1000, 7, "µs of a processor"),
		upTo("the same, 64 messages at a time", chat.of("Receiver/64_in_flight", "cpu-ns/receiver")/1000, 7, "µs of a processor"),
		upTo("a message to the large group", chat.of("LargeGroup/no_handler", "ms/message"), 10, "ms"),
		atLeastSo("SQLite, stored, answered and delivered to 19 users each", lite.of("Server/800_in_flight", "messages/s"), 10_000),
		upTo("the same at 5,000 a second, 99 % of them", lite.of("Server/5000_a_second", "p99-ms"), 50, "ms"),
		atLeastSo("PostgreSQL, stored, answered and delivered to one user each", postgres.of("Server/800_in_flight,_to_one_user_each", "messages/s"), 20_000),
		upTo("SQLite, a page of history, 99 % of them", lite.of("History", "p99-µs")/1000, 1, "ms"),
		upTo("PostgreSQL, a page of history, 99 % of them", postgres.of("History", "p99-µs")/1000, 1, "ms"),
		upTo("SQLite, a join, 99 % of them", lite.of("Join", "p99-µs")/1000, 5, "ms"),
		upTo("PostgreSQL, a join, 99 % of them", postgres.of("Join", "p99-µs")/1000, 5, "ms"),
		upTo("PostgreSQL, the watchers of a user, 99 % of them", postgres.of("Watchers", "p99-µs")/1000, 2, "ms"),
	}
	stores := report.Table{Head: []string{"", "SQLite", "PostgreSQL"}}
	row := func(what, name, unit, format string, scale float64) {
		cells := []string{what}
		for _, of := range []*figures{&lite, &postgres} {
			text := "–"
			if len(of.found[name][unit]) > 0 {
				text = fmt.Sprintf(format, of.of(name, unit)/scale)
			}
			cells = append(cells, text)
		}
		stores.Row(cells...)
	}
	for _, at := range []string{"1", "64", "256"} {
		row("stored alone, "+at+" a commit: messages/s", "Append/"+at+"_posts,_1_writers", "messages/s", "%.0f", 1)
		row("the same by two writers: messages/s", "Append/"+at+"_posts,_2_writers", "messages/s", "%.0f", 1)
	}
	for _, load := range [][2]string{
		{"20_in_flight", "20 in flight"}, {"800_in_flight", "800 in flight"},
		{"800_in_flight,_to_one_user_each", "800 in flight, to one user each"}, {"5000_a_second", "5,000 a second"},
	} {
		name := "Server/" + load[0]
		row("a server, "+load[1]+": messages/s", name, "messages/s", "%.0f", 1)
		row("a server, "+load[1]+": half within, ms", name, "p50-ms", "%.1f", 1)
		row("a server, "+load[1]+": 99 % within, ms", name, "p99-ms", "%.1f", 1)
	}
	for _, what := range [][2]string{{"History", "a page of history"}, {"Join", "a join"}, {"Watchers", "the watchers of a user"}} {
		row(what[1]+": half within, ms", what[0], "p50-µs", "%.2f", 1000)
		row(what[1]+": 99 % within, ms", what[0], "p99-µs", "%.2f", 1000)
	}
	s.Body = stores.String()
	return s, errors.Join(chat.complete(), lite.complete(), postgres.complete())
}

// atLeastSo is a target of so many messages a second.
func atLeastSo(what string, is, limit float64) report.Target {
	return report.Target{What: what, Must: "≥ " + report.Count(limit) + "/s", Measured: report.Count(is) + "/s", Met: is >= limit}
}
