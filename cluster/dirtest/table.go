package dirtest

import (
	"time"

	"github.com/rollcall-go/rollcall/cluster"
)

func (s *suite) burial() {
	a, b := s.join(), s.join()
	if b <= a {
		s.t.Errorf("incarnation %d after %d", b, a)
	}
	_, v := s.renew(a)
	row, ok := rowOf(v, b)
	if !ok || !v.Armed {
		s.t.Fatalf("the table is %+v", v)
	}
	s.noError(s.store.Bury(s.ctx, a, b, s.epoch, row.Renewals))
	if _, v = s.renew(a); !dead(v, b) || dead(v, a) {
		s.t.Errorf("after the burial the table is %+v", v)
	}
	_, err := s.store.Renew(s.ctx, b, member, 0)
	s.is(err, cluster.ErrFenced)
	s.is(s.store.Bury(s.ctx, a, a, "another", 1), cluster.ErrRecovering)
	s.is(s.store.Bury(s.ctx, b, a, s.epoch, 1), cluster.ErrFenced)
	_, err = s.store.Ready(s.ctx, b, cluster.ReadyOptions{})
	s.is(err, cluster.ErrFenced)
	s.is(s.store.Bury(s.ctx, a, a, "another", 1), cluster.ErrRecovering)
	s.is(s.store.Bury(s.ctx, b+100, a, s.epoch, 1), cluster.ErrUnknown)
	if _, v = s.renew(a); dead(v, a) {
		s.t.Error("a dead node buried a live one")
	}
}

func (s *suite) lateBurial() {
	a, b := s.join(), s.join()
	before, _ := s.renew(b)
	after, _ := s.renew(b)
	if after.Renewals == before.Renewals {
		s.t.Fatal("a renewal does not count")
	}
	s.noError(s.store.Bury(s.ctx, a, b, s.epoch, before.Renewals))
	s.renew(b)
}

func (s *suite) former() {
	a := s.join()
	b, err := s.store.Join(s.ctx, member, cluster.JoinOptions{Former: a})
	s.noError(err)
	if _, v := s.renew(b); !dead(v, a) {
		s.t.Errorf("the former life is not dead: %+v", v)
	}
	if _, err = s.store.Renew(s.ctx, a, member, 0); err == nil {
		s.t.Error("the former life was renewed")
	}
	if _, v := s.renew(b); !dead(v, a) {
		s.t.Errorf("the former life is back: %+v", v)
	}
}

func (s *suite) leaves() {
	a, b := s.join(), s.join()
	s.noError(s.store.Leave(s.ctx, a))
	if _, v := s.renew(b); !dead(v, a) {
		s.t.Errorf("the node that has left is not dead: %+v", v)
	}
	if c := s.join(); c <= b {
		s.t.Errorf("incarnation %d after %d", c, b)
	}
}

func (s *suite) swept() {
	a, b, c := s.join(), s.join(), s.join()
	s.noError(s.store.Leave(s.ctx, b))
	s.noError(s.store.Leave(s.ctx, c))
	for _, inc := range []cluster.Incarnation{b, c} { // also when another node joins
		if row, ok := rowOf(s.table(), inc); !ok || !row.Dead || row.Swept {
			s.t.Errorf("the row of dead node %d is %+v", inc, row)
		}
	}
	d := s.join()
	s.noError(s.store.Leave(s.ctx, d))
	all := []cluster.Incarnation{a, b, c, d}
	s.is(s.store.Swept(s.ctx, a, "another", all), cluster.ErrRecovering)
	s.is(s.store.Swept(s.ctx, b, s.epoch, all), cluster.ErrFenced)
	s.is(s.store.Swept(s.ctx, d+100, s.epoch, all), cluster.ErrUnknown)
	s.noError(s.store.Swept(s.ctx, a, s.epoch, append(all, d+100)))
	_, v := s.renew(a)
	if _, ok := rowOf(v, b); ok || !dead(v, b) || !dead(v, c) || dead(v, a) {
		s.t.Errorf("after the sweep the table is %+v", v)
	}
	if row, ok := rowOf(v, d); !ok || !row.Dead || !row.Swept { // absent, it would not be below the highest number
		s.t.Errorf("the row with the highest number is %+v", row)
	}
	s.join()
	_, v = s.renew(a)
	if _, ok := rowOf(v, d); ok || !dead(v, d) {
		s.t.Errorf("after the join of another node the table is %+v", v)
	}
	s.restart()
	s.rejoin(a, cluster.RejoinOptions{})
	s.is(s.store.Swept(s.ctx, a, s.epoch, all), cluster.ErrRecovering)
}

// restart restarts the store, and notes its epoch.
func (s *suite) restart() {
	s.t.Helper()
	s.store.Restart()
	v := s.table()
	if v.Epoch == s.epoch || v.Armed {
		s.t.Fatalf("a store that has restarted has the table %+v", v)
	}
	s.epoch = v.Epoch
}

// rejoin has a node come back to a store that has lost it.
func (s *suite) rejoin(me cluster.Incarnation, o cluster.RejoinOptions) {
	s.t.Helper()
	v, err := s.store.Renew(s.ctx, me, member, 0)
	s.is(err, cluster.ErrUnknown)
	if v.Armed || v.Epoch != s.epoch {
		s.t.Fatalf("a renewal at a store that recovers returned %+v", v)
	}
	s.noError(s.store.Rejoin(s.ctx, me, member, o))
	s.renew(me)
}

func (s *suite) ready(me cluster.Incarnation, o cluster.ReadyOptions, want bool) {
	s.t.Helper()
	o.Epoch = "another"
	_, err := s.store.Ready(s.ctx, me, o)
	s.is(err, cluster.ErrRecovering)
	o.Epoch = s.epoch
	armed, err := s.store.Ready(s.ctx, me, o)
	s.noError(err)
	if armed != want || s.table().Armed != want {
		s.t.Fatalf("has the store recovered: %v, want %v", armed, want)
	}
}

func (s *suite) recovering() {
	a := s.join()
	before := s.options()
	s.swap("ann", 0, "1")
	s.restart()
	s.rejoin(a, cluster.RejoinOptions{})
	for _, o := range []cluster.SwapOptions{before, {Epoch: before.Epoch, Recovering: true}, s.options()} {
		_, err := s.store.Swap(s.ctx, "ann", 0, []byte("2"), o)
		s.is(err, cluster.ErrRecovering)
		s.is(s.store.Remove(s.ctx, "ann", 0, o), cluster.ErrRecovering)
	}
	s.is(s.store.Bury(s.ctx, a, a, s.epoch, 1), cluster.ErrRecovering)
	v, err := s.store.Swap(s.ctx, "ann", 0, []byte("again"), cluster.SwapOptions{Epoch: s.epoch, Recovering: true})
	s.noError(err)
	s.ready(a, cluster.ReadyOptions{Settled: true}, true)
	_, err = s.store.Swap(s.ctx, "ann", 0, []byte("2"), s.options())
	s.conflict(err, v, "again")
	_, err = s.store.Swap(s.ctx, "ann", v, []byte("2"), before)
	s.is(err, cluster.ErrRecovering)
	s.swap("ann", v, "2")
	s.is(s.store.Rejoin(s.ctx, a+1, member, cluster.RejoinOptions{}), cluster.ErrUnknown)
}

func (s *suite) recovers() {
	a, b, c := s.join(), s.join(), s.join()
	s.restart()
	s.rejoin(a, cluster.RejoinOptions{Known: []cluster.Incarnation{b}})
	s.ready(a, cluster.ReadyOptions{}, false)
	s.ready(a, cluster.ReadyOptions{Settled: true}, false) // b is told, and not ready
	s.rejoin(b, cluster.RejoinOptions{})
	s.rejoin(c, cluster.RejoinOptions{})
	s.ready(b, cluster.ReadyOptions{Settled: true}, false) // c is in the table, and not ready
	s.ready(c, cluster.ReadyOptions{}, false)              // all are, but one that is not known may come yet
	s.ready(a, cluster.ReadyOptions{Settled: true}, true)
	s.ready(b, cluster.ReadyOptions{}, true)
	for _, inc := range []cluster.Incarnation{a, b, c} {
		s.renew(inc)
	}
}

func (s *suite) overdue() {
	a, b, c := s.join(), s.join(), s.join()
	s.restart()
	s.rejoin(b, cluster.RejoinOptions{Known: []cluster.Incarnation{a}})
	s.rejoin(c, cluster.RejoinOptions{})
	s.ready(b, cluster.ReadyOptions{Overdue: true}, true)
	_, v := s.renew(b)
	if !dead(v, a) || !dead(v, c) || dead(v, b) {
		s.t.Errorf("the table is %+v", v)
	}
	for _, inc := range []cluster.Incarnation{a, c} {
		if _, err := s.store.Renew(s.ctx, inc, member, 0); err == nil {
			s.t.Error("a node that did not come was renewed")
		}
	}
}

func (s *suite) handedAlong() {
	a, b := s.join(), s.join()
	s.restart()
	s.rejoin(a, cluster.RejoinOptions{Dead: []cluster.Incarnation{b}})
	s.is(s.store.Rejoin(s.ctx, b, member, cluster.RejoinOptions{}), cluster.ErrFenced)
	s.ready(a, cluster.ReadyOptions{Settled: true}, true)
	if _, v := s.renew(a); !dead(v, b) {
		s.t.Errorf("the table is %+v", v)
	}
	if c := s.join(); c <= b {
		s.t.Errorf("incarnation %d after %d", c, b)
	}
}

func (s *suite) newcomer() {
	a := s.join()
	s.restart()
	stamp := s.table().Stamp
	_, err := s.store.Join(s.ctx, member, cluster.JoinOptions{})
	s.is(err, cluster.ErrRecovering)
	s.rejoin(a, cluster.RejoinOptions{})
	_, err = s.store.Join(s.ctx, member, cluster.JoinOptions{Bootstrap: stamp}) // the table has changed since: a node lives
	s.is(err, cluster.ErrRecovering)
	stamp = s.table().Stamp
	s.renew(a)
	_, err = s.store.Join(s.ctx, member, cluster.JoinOptions{Bootstrap: stamp})
	s.is(err, cluster.ErrRecovering)
	b, err := s.store.Join(s.ctx, member, cluster.JoinOptions{Bootstrap: s.table().Stamp})
	s.noError(err)
	_, v := s.renew(b)
	if b <= a || !v.Armed || !dead(v, a) {
		s.t.Errorf("the newcomer %d has the table %+v", b, v)
	}
}

func (s *suite) floor() {
	a := s.join()
	const high = 1 << 52 // far above what a clock gives
	v, err := s.store.Renew(s.ctx, a, member, high)
	s.noError(err)
	if v.Floor < high {
		s.t.Errorf("the floor is %d", v.Floor)
	}
	if got := s.swap("ann", 0, "1"); got <= high {
		s.t.Errorf("version %d after %d", got, cluster.Version(high))
	}
	s.restart()
	s.rejoin(a, cluster.RejoinOptions{Floor: high + 10})
	armed, err := s.store.Ready(s.ctx, a, cluster.ReadyOptions{Epoch: s.epoch, Floor: high + 20, Settled: true})
	if !armed || err != nil {
		s.t.Fatal(armed, err)
	}
	if got := s.swap("ann", 0, "1"); got <= high+20 {
		s.t.Errorf("version %d after %d", got, cluster.Version(high+20))
	}
}

// lostNumber has a store lose the number of a node that goes on without it. The first node of the empty store comes later: it waits a lease.
func (s *suite) lostNumber() {
	a := s.join()
	s.restart()
	time.Sleep(2 * time.Second) // numbers may be seconds of a clock, and this one is the second of its second
	b, err := s.store.Join(s.ctx, member, cluster.JoinOptions{Bootstrap: s.table().Stamp})
	s.noError(err)
	if b <= a {
		s.t.Errorf("rule 19: node %d joined a store that had lost node %d", b, a)
	}
}

// open has a node come back that has acted without the store, and notes the store's epoch.
func (s *suite) open(former cluster.Incarnation, o cluster.RejoinOptions) cluster.Incarnation {
	s.t.Helper()
	me, err := s.store.Join(s.ctx, member, cluster.JoinOptions{Former: former, Open: &o})
	s.noError(err)
	v := s.table()
	if v.Armed {
		s.t.Fatalf("a store that a node with sessions has come back to has the table %+v", v)
	}
	s.epoch = v.Epoch
	return me
}

func (s *suite) opened() {
	const high = 1 << 52
	a, b := s.join(), s.join()
	before := s.options()
	v := s.swap("ann", 0, "1")
	if me := s.open(a, cluster.RejoinOptions{Floor: high, Known: []cluster.Incarnation{b + 100}}); me != a {
		s.t.Errorf("node %d came back as %d", a, me)
	}
	if s.epoch == before.Epoch {
		s.t.Fatal("the store has the epoch that it had")
	}
	for _, o := range []cluster.SwapOptions{before, s.options()} {
		_, err := s.store.Swap(s.ctx, "ann", v, []byte("2"), o)
		s.is(err, cluster.ErrRecovering)
	}
	_, err := s.store.Swap(s.ctx, "ann", 0, []byte("2"), cluster.SwapOptions{Epoch: s.epoch, Recovering: true})
	s.conflict(err, v, "1")                                // nothing is lost
	s.ready(b, cluster.ReadyOptions{Settled: true}, false) // a is not ready
	s.ready(a, cluster.ReadyOptions{}, false)
	first := s.epoch
	if s.open(b, cluster.RejoinOptions{}); s.epoch != first { // it recovers already
		s.t.Errorf("the epoch is %s, and was %s", s.epoch, first)
	}
	s.ready(a, cluster.ReadyOptions{Settled: true}, false) // b must write what it has come back with
	s.ready(b, cluster.ReadyOptions{Settled: true}, true)
	s.renew(a)
	s.renew(b)
	if got := s.swap("ann", v, "2"); got <= high {
		s.t.Errorf("version %d after %d", got, cluster.Version(high))
	}
}

func (s *suite) openedDead() {
	a, b := s.join(), s.join()
	row, _ := s.renew(a)
	s.noError(s.store.Bury(s.ctx, b, a, s.epoch, row.Renewals))
	me := s.open(a, cluster.RejoinOptions{})
	if me <= b {
		s.t.Errorf("the dead node %d came back as %d", a, me)
	}
	s.ready(b, cluster.ReadyOptions{Settled: true}, false)
	s.ready(me, cluster.ReadyOptions{Settled: true}, true)
	if _, v := s.renew(me); !dead(v, a) || dead(v, b) {
		s.t.Errorf("the table is %+v", v)
	}
}

// openedSwept has a node come back that was swept out of the table. It comes back twice, as if the first answer had been lost: the second time the store
// recovers already, and has not lost its table.
func (s *suite) openedSwept() {
	a, b, c := s.join(), s.join(), s.join()
	for _, inc := range []cluster.Incarnation{a, b} {
		row, _ := s.renew(inc)
		s.noError(s.store.Bury(s.ctx, c, inc, s.epoch, row.Renewals))
	}
	s.noError(s.store.Swept(s.ctx, c, s.epoch, []cluster.Incarnation{a, b}))
	first := s.open(a, cluster.RejoinOptions{Known: []cluster.Incarnation{b}})
	again := s.open(a, cluster.RejoinOptions{Known: []cluster.Incarnation{b}})
	if first <= c || again <= first {
		s.t.Errorf("node %d, which was swept, came back as %d, and then as %d", a, first, again)
	}
	s.is(s.store.Rejoin(s.ctx, b, member, cluster.RejoinOptions{}), cluster.ErrFenced)
	s.ready(c, cluster.ReadyOptions{}, false)
	s.ready(first, cluster.ReadyOptions{}, false)
	s.ready(again, cluster.ReadyOptions{Settled: true}, true) // b is not waited for
}

func (s *suite) openedLost() {
	a, b, c := s.join(), s.join(), s.join()
	s.restart()
	epoch := s.epoch
	if me := s.open(a, cluster.RejoinOptions{Known: []cluster.Incarnation{b}, Dead: []cluster.Incarnation{c}}); me != a || s.epoch != epoch {
		s.t.Errorf("node %d came back as %d, in epoch %s of %s", a, me, s.epoch, epoch)
	}
	s.ready(a, cluster.ReadyOptions{Settled: true}, false) // b is told, and not ready
	d := s.open(c, cluster.RejoinOptions{})
	if d <= c {
		s.t.Errorf("node %d, which others have seen dead, came back as %d", c, d)
	}
	s.ready(d, cluster.ReadyOptions{}, false)
	s.rejoin(b, cluster.RejoinOptions{})
	s.ready(b, cluster.ReadyOptions{Settled: true, Stale: true}, false) // it may not know of others
	s.ready(b, cluster.ReadyOptions{Settled: true}, true)
	s.renew(a)
	s.renew(b)
	s.open(a, cluster.RejoinOptions{}) // the table is whole
	s.ready(b, cluster.ReadyOptions{}, false)
	s.ready(d, cluster.ReadyOptions{}, false)
	s.ready(a, cluster.ReadyOptions{Settled: true, Stale: true}, true)
}
