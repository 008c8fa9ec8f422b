package usermgr

import (
	"encoding/json"
	"time"

	"github.com/rollcall-go/rollcall/internal/contain"
	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/protocol"
)

// Carry is what moves with a user from one manager to another, by the names of its parts. The part "usermgr" has the user's totals, tag
// and the time when the user came online; the others are those of Manager.AddCarryPart.
type Carry = seam.Carry

// CarryPart is a part of what moves with a user from one manager to another. Its methods are called in the user's turn. A part should be
// small, some kilobytes at most, because it moves in one frame of the mesh. It is lost when a node dies, or when frames are lost.
type CarryPart interface {
	// Leave returns the part of a user who has left this manager, after the handlers of Disconnected; nil for none. What it has
	// returned is dropped when the user turns out to be offline.
	Leave(userID string) []byte
	// Arrive brings the part of a user who has come to this manager: as a rule before the handlers of Connected, and later when the
	// other manager's last session of the user ends later. It may be called several times, when the user leaves several managers.
	// The slice is valid until Arrive returns.
	Arrive(userID string, part []byte)
}

// carryName is the name of the manager's own part.
const carryName = "usermgr"

// namedPart is a part with its name.
type namedPart struct {
	name string
	part CarryPart
}

// AddCarryPart adds a part to what moves with a user between the managers of a cluster. Call it before the first logon, with the same names on all
// nodes. It panics for an empty name, and for one that is taken.
func (m *Manager) AddCarryPart(name string, p CarryPart) {
	m.subscribing.Lock()
	defer m.subscribing.Unlock()
	var all []namedPart
	if old := m.parts.Load(); old != nil {
		all = append(all, *old...)
	}
	for _, o := range all {
		if o.name == name {
			panic("rollcall: AddCarryPart was called twice for " + name)
		}
	}
	if name == "" || name == carryName {
		panic("rollcall: AddCarryPart needs a name of its own")
	}
	all = append(all, namedPart{name, p})
	m.parts.Store(&all)
}

// ownPart is the manager's own part. It is JSON, so that versions of the library can differ in it.
type ownPart struct {
	Since   int64  // Unix nanoseconds
	Active  int64  // Unix nanoseconds
	Tag     []byte `json:",omitempty"` // a text that need not be UTF-8
	In, Out protocol.Traffic
	Dropped protocol.Traffic
}

// carryOf returns what moves with a user who has just left this manager with the data d.
func (m *Manager) carryOf(d *UserData) Carry {
	own, err := json.Marshal(ownPart{d.Since.UnixNano(), d.LastActive.UnixNano(), []byte(d.Tag), d.In, d.Out, d.Dropped})
	if err != nil {
		panic(err) // it has nothing that JSON has not
	}
	c := Carry{carryName: own}
	if parts := m.parts.Load(); parts != nil {
		for _, p := range *parts {
			contain.Apart(func() {
				if part := p.part.Leave(d.UserID); part != nil {
					c[p.name] = part
				}
			}, func(v any) { m.noteFailure("a CarryPart's Leave", v) })
		}
	}
	return c
}

// arrive adds what has moved with the user to what the user has here.
func (u *user) arrive(c Carry) {
	m := u.manager
	if own := decodeOwnPart(c); own != nil {
		u.mu.Lock()
		p := u.needLazy()
		if oldest := u.oldest.Load(); p.since == 0 && oldest != nil {
			p.since = oldest.logonTime()
		}
		if p.since == 0 || own.Since < p.since {
			p.since = own.Since
		}
		if active := time.Unix(0, own.Active); active.After(p.active) {
			p.active = active
		}
		if p.tag == "" {
			p.tag = string(own.Tag)
		}
		addTraffic(&p.in, own.In)
		addTraffic(&p.out, own.Out)
		addTraffic(&p.dropped, own.Dropped)
		u.mu.Unlock()
	}
	if parts := m.parts.Load(); parts != nil {
		for _, p := range *parts {
			if part, ok := c[p.name]; ok {
				contain.Apart(func() { p.part.Arrive(u.id, part) }, func(v any) { m.noteFailure("a CarryPart's Arrive", v) })
			}
		}
	}
}

// add adds what has moved with the user.
func (d *UserData) add(c Carry) {
	own := decodeOwnPart(c)
	if own == nil {
		return
	}
	if since := time.Unix(0, own.Since); d.Since.IsZero() || since.Before(d.Since) {
		d.Since = since
	}
	if active := time.Unix(0, own.Active); active.After(d.LastActive) {
		d.LastActive = active
	}
	if d.Tag == "" {
		d.Tag = string(own.Tag)
	}
	addTraffic(&d.In, own.In)
	addTraffic(&d.Out, own.Out)
	addTraffic(&d.Dropped, own.Dropped)
}

// decodeOwnPart returns nil for none.
func decodeOwnPart(c Carry) *ownPart {
	own := new(ownPart)
	if json.Unmarshal(c[carryName], own) != nil {
		return nil
	}
	return own
}
