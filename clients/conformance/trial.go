package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

// scenario is a part of what a client must do.
type scenario struct {
	name    string
	heading string // of docs/protocol.md, under which the rule stands
	rule    string
	needs   string // a transport, or an optional part (renew): testees without it are not judged by this
	pair    bool   // needs two testees: the second one is that of t.peer
	waits   bool   // takes seconds, in which it mostly waits
	run     func(t *trial)
}

// trial is one run of a scenario with a testee.
type trial struct {
	*scenario
	log       *transcript
	p         *process
	ready     event
	transport string // that scenarios use where they need no other
	until     time.Time
	most      time.Duration // that the trial waits for one thing
	servers   []*server
	stops     []func() // of real servers
	peer      *trial   // with the second testee; nil without one
	count     int

	mu     sync.Mutex
	faults []string // what broke a rule that holds in every scenario
}

const (
	// eventually is how long a trial waits for one thing. It is long, because the machine may be busy.
	eventually = time.Minute
	// longest is how long a trial may take in all.
	longest = 5 * time.Minute
)

// failure ends a trial.
type failure string

// outcome is the result of a trial.
type outcome struct {
	scenario *scenario
	testee   string
	leftOut  bool
	fault    string // "" is none
	report   string // with a fault: what helps to find it
	took     time.Duration
	spent    map[string]time.Duration // processor time, by testee
}

// try runs a scenario with a testee, and a second one where it needs two.
func (s *scenario) try(w, second testee) (o outcome) {
	o = outcome{scenario: s, testee: w.name, spent: map[string]time.Duration{}}
	t := &trial{scenario: s, log: &transcript{began: time.Now()}, until: time.Now().Add(longest), most: w.patience}
	if t.most == 0 {
		t.most = eventually
	}
	both := []*trial{t}
	if s.pair {
		o.testee += "+" + second.name
		t.peer = &trial{scenario: s, log: t.log, until: t.until, most: t.most}
		both = append(both, t.peer)
	}
	defer func() { o.took = time.Since(t.log.began) }()
	defer func() {
		v := recover()
		fault, failed := v.(failure)
		o.fault = string(fault)
		var stderr strings.Builder
		for i, t := range both {
			o.fault = t.finish(o.fault)
			o.spent[[]testee{w, second}[i].name] += t.p.spent()
			stderr.WriteString(t.p.text())
		}
		if v != nil && !failed {
			panic(v)
		}
		if o.fault != "" {
			o.report = fmt.Sprintf("    standard error:\n%s\n    transcript:\n%s", indent(stderr.String()), indent(t.log.String()))
		}
	}()
	for i, t := range both {
		t.begin([]testee{w, second}[i], i)
		if !t.can(s.needs) {
			o.leftOut = true
			return o
		}
	}
	s.run(t)
	return o
}

// begin starts the testee.
func (t *trial) begin(w testee, number int) {
	label := ""
	if t.pair {
		label = fmt.Sprintf(" of %s, number %d", w.name, number+1)
	}
	p, err := w.start(t.log, label)
	if err != nil {
		t.failf("the testee does not start: %v", err)
	}
	t.p = p
	t.ready = t.wait("a line that says what the testee is (ready)", func(e event) bool { return true })
	if t.ready.Event != "ready" || len(t.ready.Transports) == 0 {
		t.failf("got %s, want ready with transports", &t.ready)
	}
	t.transport = "tcp"
	if !slices.Contains(t.ready.Transports, "tcp") {
		t.transport = t.ready.Transports[0]
	}
}

// can reports whether the testee has what a scenario needs.
func (t *trial) can(need string) bool {
	switch need {
	case "":
		return true
	case "tcp", "tls", "ws", "wss":
		return slices.Contains(t.ready.Transports, need)
	}
	return !slices.Contains(t.ready.Lacks, need)
}

// finish ends the testee and the servers, and returns the fault, with what else was wrong.
func (t *trial) finish(fault string) string {
	defer func() {
		for _, s := range t.servers {
			s.close()
		}
		for _, stop := range t.stops {
			stop()
		}
	}()
	if t.p != nil {
		if err := t.p.end(eventually); err != nil && fault == "" {
			fault = err.Error()
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.faults) > 0 {
		if fault != "" {
			fault += "; "
		}
		fault += "broke what holds always: " + strings.Join(t.faults, "; ")
	}
	return fault
}

func indent(s string) string {
	if strings.TrimSpace(s) == "" {
		return "      (nothing)"
	}
	return "      " + strings.ReplaceAll(strings.Trim(s, "\n"), "\n", "\n      ")
}

// failf ends the trial.
func (t *trial) failf(format string, a ...any) { panic(failure(fmt.Sprintf(format, a...))) }

// fault notes that a rule of every scenario was broken. It may be called from any goroutine.
func (t *trial) fault(format string, a ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.faults) < 3 {
		t.faults = append(t.faults, fmt.Sprintf(format, a...))
	}
}

// patience is how long the trial may wait now.
func (t *trial) patience() time.Duration { return min(t.most, time.Until(t.until)) }

// unique returns a name that the trial has not used.
func (t *trial) unique(what string) string {
	t.count++
	return fmt.Sprintf("%s %d", what, t.count)
}

// do gives the testee a command.
func (t *trial) do(c command) {
	if err := t.p.do(c); err != nil {
		<-t.p.exited
		t.failf("the testee has ended (%v)", errors.Join(err, t.p.err))
	}
}

// wait waits for an event that ok accepts. Events before it stay for later.
func (t *trial) wait(what string, ok func(e event) bool) event {
	e, found := t.p.events.take(t.patience(), func(e event) bool { return e.Event == "no event" || ok(e) })
	switch {
	case found && e.Event == "no event":
		t.failf("the testee wrote what is no event: %s", shorten(e.Text, 300))
	case !found:
		var others []string
		for _, e := range t.p.events.all() {
			others = append(others, e.String())
		}
		t.failf("got %s, want %s", shorten(orNothing(others), 1000), what)
	}
	return e
}

func orNothing(list []string) string {
	if len(list) == 0 {
		return "no event"
	}
	return strings.Join(list, ", ")
}

// event returns the next event of a kind.
func (t *trial) event(kind string) event {
	return t.wait("the event "+kind, func(e event) bool { return e.Event == kind })
}

// nextEvent returns the next event, which must be of a kind.
func (t *trial) nextEvent(kind string) event {
	e := t.wait("the event "+kind, func(event) bool { return true })
	if e.Event != kind {
		t.failf("got %s, want the event %s", &e, kind)
	}
	return e
}

// tagged returns the event of a kind that answers a command.
func (t *trial) tagged(kind, tag string) event {
	e := t.wait(fmt.Sprintf("%s for the command %q", kind, tag), func(e event) bool { return e.Tag == tag })
	if e.Event != kind {
		t.failf("got %s, want %s for the command %q", &e, kind, tag)
	}
	return e
}

// refused requires that a command fails for this reason.
func (t *trial) refused(tag string, reasons ...string) event {
	e := t.tagged("error", tag)
	if !slices.Contains(reasons, e.Reason) {
		t.failf("got the reason %q, want %s: %s", e.Reason, strings.Join(reasons, " or "), &e)
	}
	return e
}

// state returns the next change of state, which must be to this state.
func (t *trial) state(want string) event {
	e := t.wait("the state "+want, func(e event) bool { return e.Event == "state" })
	if e.State != want {
		t.failf("got %s, want the state %s", &e, want)
	}
	return e
}

// online waits until the client is online; it may tell of failed attempts before.
func (t *trial) online() event {
	for {
		e := t.wait("the state online", func(e event) bool { return e.Event == "state" })
		switch e.State {
		case "online":
			return e
		case "reconnecting":
			continue
		}
		t.failf("got %s, want the state online", &e)
	}
}

// closed waits until the client is closed, with this code; it may tell of failed attempts before. After a close of its own (1000) it does not
// matter whether it may reconnect.
func (t *trial) closed(code int, mayReconnect bool) event {
	for {
		e := t.wait("the state closed", func(e event) bool { return e.Event == "state" })
		switch {
		case e.State == "reconnecting":
			continue
		case e.State != "closed" || e.Code != code || e.MayRe != mayReconnect && code != 1000:
			t.failf("got %s, want closed with the code %d and may_reconnect %v", &e, code, mayReconnect)
		}
		return e
	}
}

// lost takes the state reconnecting, with this code.
func (t *trial) lost(code int) event {
	e := t.state("reconnecting")
	if e.Code != code || !e.MayRe {
		t.failf("got %s, want reconnecting with the code %d and may_reconnect", &e, code)
	}
	return e
}

// eventFence has the server send a message, and requires that the testee tells nothing before it.
func (t *trial) eventFence(c *conn) {
	body := t.unique("fence")
	c.send(message(body))
	if e := t.nextEvent("message"); e.body() != body {
		t.failf("got %s, want nothing before the message %q", &e, body)
	}
}

// dial has the testee dial a server. Without more fields in how it is alice, and waits at most 20 ms before each attempt.
func (t *trial) dial(s *server, how command) {
	c := command{"do": "dial", "address": s.address(), "user": "alice", "min_ms": 1, "max_ms": 20}
	if s.tls != nil {
		c["ca"] = trust().file
	}
	for k, v := range how {
		c[k] = v
	}
	t.do(c)
}

// session makes a server, has the testee log on there, and accepts it with these fields.
func (t *trial) session(how command, f fields) (*server, *conn) {
	s := t.listen()
	return s, t.logOn(s, how, f)
}

// logOn has the testee dial a server, and accepts it with these fields. A client that the testee had before must be closed.
func (t *trial) logOn(s *server, how command, f fields) *conn {
	t.dial(s, how)
	c := s.accept()
	c.welcome(f)
	t.state("online")
	return c
}

// takeLogon makes a server, has the testee dial it, and takes its Logon.
func (t *trial) takeLogon(how command) (*conn, *protocol.Message, fields) {
	s := t.listen()
	t.dial(s, how)
	c := s.accept()
	m, f := c.logon()
	return c, m, f
}

// again waits for the client's next connection, and accepts it.
func (t *trial) again(s *server, f fields) *conn {
	c := s.accept()
	c.welcome(f)
	t.online()
	return c
}

// stays requires that no connection comes for a while.
func (t *trial) stays(s *server, d time.Duration) {
	if c, ok := s.conns.next(d); ok {
		t.failf("got another connection (%s), want none", c.name)
	}
}
