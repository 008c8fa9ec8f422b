package presence

import (
	"context"
	"encoding/binary"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/protocol"
)

// elsewhere tells the services on other servers of a cluster which users are here and what they have chosen, and hears the same of them.
// Each service then finds by itself what its watching sessions are to be told. What a service tells to all has numbers without a gap: where
// one is missing, the whole is asked for. Only the presence goroutine uses the fields. All methods do nothing where there are no other servers.
type elsewhere struct {
	service *Service
	teller  seam.Teller
	stop    func()
	number  uint64 // of what was told to all last
	servers map[uint32]*server
}

// server is another server that lives.
type server struct {
	number uint64              // of what was heard last
	whole  bool                // all that it has told is known
	part   uint16              // of the whole that comes next
	here   map[string]struct{} // the users in the parts that have come
}

// beatEvery is how often a service tells the number of what it has told last.
var beatEvery = 5 * time.Second // a variable for the tests alone

const serviceName = "presence"

// The kinds of what services tell each other. The numbers are on the wire: a new kind goes to the end, and kinds that are not known are
// ignored.
const (
	saidNews     uint8 = iota + 1 // to all, with a number: entries that have changed
	saidContacts                  // to all, with a number: users whose contacts have changed
	saidBeat                      // to all: the number of what was told last
	saidAsk                       // to one: tell me the whole
	saidPart                      // to one: a part of the whole
)

// entry is what a service tells of a user.
type entry struct {
	id string
	known
	gone    uint64 // Offline was told, with this Version; 0 for no
	crossed moment // when others have last seen the user come or go
	times          // that are stored
}

func newElsewhere(s *Service, t seam.Teller) *elsewhere {
	return &elsewhere{service: s, teller: t, servers: make(map[uint32]*server)}
}

// begin is called when the service has subscribed to the user manager's events.
func (e *elsewhere) begin() {
	if e == nil {
		return
	}
	inbox := &e.service.inbox
	e.stop = e.teller.Hear(serviceName, func(from uint32, body []byte) {
		body = slices.Clone(body)
		inbox.put(func() { e.heard(from, body) })
	}, func(others []uint32) {
		inbox.put(func() { e.changed(others) })
	})
	inbox.put(func() { e.service.after(beatEvery, e.beat) })
}

func (e *elsewhere) end() {
	if e != nil {
		e.stop()
	}
}

// changed takes which other servers live. Users of one that has died count as online until the cluster says otherwise.
func (e *elsewhere) changed(others []uint32) {
	for id := range e.servers {
		if !slices.Contains(others, id) {
			delete(e.servers, id)
			e.service.table.leaveAll(id, nil)
		}
	}
	for _, id := range others {
		if e.servers[id] == nil {
			e.servers[id] = &server{}
			e.ask(id)
		}
	}
}

func (e *elsewhere) ask(id uint32) { e.teller.Tell(serviceName, id, e.begun(saidAsk)) }

// begun begins what is told.
func (e *elsewhere) begun(kind uint8) []byte {
	return binary.BigEndian.AppendUint64([]byte{kind}, e.number)
}

// spread tells all other servers what has changed here.
func (e *elsewhere) spread() {
	if e == nil {
		return
	}
	e.inPieces(saidNews, e.service.table.takeSpread())
}

func (e *elsewhere) inPieces(kind uint8, all []entry) {
	for len(all) > 0 {
		e.number++
		b := e.begun(kind)
		b, all = appendEntries(b, all)
		e.teller.Tell(serviceName, 0, b)
	}
}

// contactsChanged tells all other servers that users' contacts have changed.
func (e *elsewhere) contactsChanged(userID string, others []string) {
	if e == nil {
		return
	}
	all := []entry{{id: userID}}
	for _, id := range others {
		all = append(all, entry{id: id})
	}
	all = slices.DeleteFunc(all, func(x entry) bool { return len(x.id) > protocol.MaxUserID })
	e.service.inbox.put(func() { e.inPieces(saidContacts, all) })
}

// tellWhole tells one server all.
func (e *elsewhere) tellWhole(to uint32) {
	all := e.service.table.whole()
	for part := uint16(0); ; part++ {
		b := binary.BigEndian.AppendUint16(e.begun(saidPart), part)
		last := len(b)
		b = append(b, 0)
		b, all = appendEntries(b, all)
		if len(all) == 0 {
			b[last] = 1
		}
		e.teller.Tell(serviceName, to, b)
		if len(all) == 0 {
			return
		}
	}
}

// heard takes what another server has told.
func (e *elsewhere) heard(from uint32, b []byte) {
	s := e.servers[from]
	if s == nil { // it has died
		return
	}
	r := reading{b: b}
	kind, number := r.byte(), r.number()
	switch kind {
	case saidNews, saidContacts:
		all := r.entries()
		if r.bad {
			break
		}
		if number != s.number+1 && s.whole {
			s.whole = false
			e.ask(from)
		}
		s.number = number
		e.take(from, kind, all)
	case saidBeat:
		if s.number != number || !s.whole {
			s.whole = false
			e.ask(from)
		}
	case saidAsk:
		e.tellWhole(from)
		if !s.whole { // it may not have heard that it was asked
			e.ask(from)
		}
	case saidPart:
		part, last := r.short(), r.byte()
		all := r.entries()
		if r.bad {
			break
		}
		if part == 0 {
			s.part, s.here = 0, make(map[string]struct{})
		}
		if part != s.part || s.here == nil { // one was lost: the next beat asks again
			s.here = nil
			break
		}
		s.part++
		for i := range all {
			s.here[all[i].id] = struct{}{}
		}
		e.take(from, saidNews, all)
		if last == 1 {
			e.service.table.leaveAll(from, s.here)
			s.number, s.whole, s.here = number, true, nil
			e.recheckAll()
		}
	}
	if r.bad {
		e.service.log.Warn("presence: another server has told something malformed", zap.Uint32("server", from))
	}
}

func (e *elsewhere) take(from uint32, kind uint8, all []entry) {
	t := &e.service.table
	if kind == saidNews {
		for i := range all {
			t.hear(from, &all[i])
		}
		return
	}
	for i := range all {
		t.recheck(all[i].id, nil)
	}
}

// recheckAll has Contacts asked anew about all who watch: what another server has told of them may be lost.
func (e *elsewhere) recheckAll() {
	for id := range e.service.watchers.of {
		e.service.table.recheck(id, nil)
	}
}

// beat tells the number of what was told last, and finds out about users who have left and of whom no server has told Offline.
func (e *elsewhere) beat() {
	s := e.service
	if s.closing {
		return
	}
	s.after(beatEvery, e.beat)
	if len(e.servers) > 0 {
		e.teller.Tell(serviceName, 0, e.begun(saidBeat))
	}
	ids := s.table.beat()
	if len(ids) == 0 {
		return
	}
	call(s, &s.calls.ask, "Online", func(ctx context.Context) ([]string, error) { return e.teller.Online(ctx, ids...) },
		func(online []string, err error) {
			if err == nil {
				s.table.settleLeaving(ids, setOf(online))
			}
		})
}

// appendEntries appends as many entries as fit, and returns the rest.
func appendEntries(b []byte, all []entry) (_ []byte, rest []entry) {
	for i := range all {
		if len(b)+maxEntry > seam.MaxTold {
			return b, all[i:]
		}
		b = all[i].append(b)
	}
	return b, nil
}

const (
	flagHere = 1 << iota
	flagActs
	maxEntry = 1 + 255 + 2 + 6*binary.MaxVarintLen64
)

// append encodes an entry: u8 length, ID, u8 flags, u8 state, then varints: stamp, generation, version, and three times in milliseconds since 1970.
func (x *entry) append(b []byte) []byte {
	b = append(b, byte(len(x.id)))
	b = append(b, x.id...)
	var flags byte
	if x.here {
		flags |= flagHere
	}
	if x.acts {
		flags |= flagActs
	}
	b = append(b, flags, byte(x.wanted))
	for _, n := range []uint64{uint64(x.stamp), x.gen, x.gone, x.crossed.ms(), x.lastOnline.ms(), x.lastSeen.ms()} {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

func (m moment) ms() uint64 { return uint64(m / 1000) }

func fromMS(ms uint64) moment { return moment(ms) * 1000 }

// reading reads what another server has told.
type reading struct {
	b   []byte
	bad bool
}

func (r *reading) take(n int) []byte {
	if r.bad || n > len(r.b) {
		r.bad = true
		return make([]byte, n)
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reading) byte() uint8    { return r.take(1)[0] }
func (r *reading) short() uint16  { return binary.BigEndian.Uint16(r.take(2)) }
func (r *reading) number() uint64 { return binary.BigEndian.Uint64(r.take(8)) }

func (r *reading) varint() uint64 {
	n, used := binary.Uvarint(r.b)
	if used <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[used:]
	return n
}

func (r *reading) entries() (all []entry) {
	for len(r.b) > 0 && !r.bad {
		x := entry{id: string(r.take(int(r.byte())))}
		flags, state := r.byte(), State(r.byte())
		x.here, x.acts, x.wanted = flags&flagHere != 0, flags&flagActs != 0, state
		x.stamp, x.gen, x.gone = int64(r.varint()), r.varint(), r.varint()
		x.crossed, x.lastOnline, x.lastSeen = fromMS(r.varint()), fromMS(r.varint()), fromMS(r.varint())
		r.bad = r.bad || protocol.CheckUserID(x.id) != nil || x.acts && !choosable(x.wanted)
		all = append(all, x)
	}
	return all
}
