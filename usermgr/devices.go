package usermgr

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/rollcall-go/rollcall/internal/seam"
)

// Devices says which sessions of one user may live side by side. The zero value allows one session for each user. Clients choose their
// device class, a number of yours; class 0 is unspecified.
//
//	Devices{OnePerClass: true}                                  // a phone and a tablet, at most 16 sessions
//	Devices{MaxSessions: 3}                                     // three devices, each on a class of its own or on class 0
//	Devices{OnePerClass: true, Exclusive: [][2]uint16{{1, 2}}}  // one per class, and not on class 1 and class 2 at once
//
// A logon excludes the sessions that may not live beside its own. It always excludes a session with the same token, because the same
// token twice is one session, and the session that it takes over by its ID. RelogonMode decides what happens: ReplaceOld ends the
// excluded sessions, the oldest first; IgnoreNew refuses the logon, unless the only excluded session is the one that it takes over.
type Devices struct {
	// OnePerClass allows one session for each device class, class 0 included, up to MaxSessions. Without it MaxSessions alone lets
	// sessions live side by side: one for each class but 0, and any number on class 0.
	OnePerClass bool
	// MaxSessions limits the sessions of a user. A logon over the limit excludes the oldest session. 0 means 16 with OnePerClass,
	// and 1 otherwise; negative means no limit. Clients choose their device class, so without a limit a user may have as many
	// sessions as there are classes, 65,536, and without OnePerClass any number.
	MaxSessions int
	// Exclusive has pairs of device classes that exclude each other: with {phone, tablet} a logon on a phone ends the session on
	// a tablet, and the other way round. New returns an error for a pair that can have no effect: one class twice, a class that
	// is not in Known, or a user who has one session in any case. Empty means none.
	Exclusive [][2]uint16
	// Known lists the device classes that may log on; include 0 if clients may leave their class unspecified. A logon on another
	// class is refused with DeviceNotAllowed, without an event. Empty means any class.
	Known []uint16
}

// defaultSessions is the default of MaxSessions with OnePerClass.
const defaultSessions = 16

// devicePolicy is Devices as the manager uses it. It shares no slice with the Devices that New was given.
type devicePolicy struct {
	onePerClass bool
	limit       int // of a user's sessions; 0 or less for none
	known       []uint16
	excludes    map[[2]uint16]struct{} // each pair in both directions
}

// policy returns the devicePolicy, or an error that names what makes no sense.
func (d Devices) policy() (devicePolicy, error) {
	p := devicePolicy{onePerClass: d.OnePerClass, limit: d.MaxSessions, known: slices.Clone(d.Known)}
	switch {
	case p.limit != 0:
	case d.OnePerClass:
		p.limit = defaultSessions
	default:
		p.limit = 1
	}
	if len(d.Exclusive) == 0 {
		return p, nil
	}
	if p.limit == 1 {
		return p, errors.New("rollcall: Devices.Exclusive has no effect where a user has one session: set Devices.OnePerClass, or a larger MaxSessions")
	}
	p.excludes = make(map[[2]uint16]struct{}, 2*len(d.Exclusive))
	for _, pair := range d.Exclusive {
		if pair[0] == pair[1] {
			return p, fmt.Errorf("rollcall: Devices.Exclusive has class %d twice in a pair: name two classes; OnePerClass allows one session on each", pair[0])
		}
		for _, class := range pair {
			if !p.knows(class) {
				return p, fmt.Errorf("rollcall: Devices.Exclusive has class %d, which Known keeps out: add it to Known, or leave the pair out", class)
			}
		}
		p.excludes[pair] = struct{}{}
		p.excludes[[2]uint16{pair[1], pair[0]}] = struct{}{}
	}
	return p, nil
}

// knows reports whether a logon may have this device class.
func (d *devicePolicy) knows(device uint16) bool {
	return len(d.known) == 0 || slices.Contains(d.known, device)
}

// named returns the device classes that the application has named.
func (d *devicePolicy) named() []uint16 {
	if len(d.known) > 0 {
		return d.known
	}
	classes := []uint16{0}
	for pair := range d.excludes { // each pair is in it in both directions
		classes = append(classes, pair[0])
	}
	return classes
}

// exclude reports whether sessions on the two devices may not live side by side, whatever the limit.
func (d *devicePolicy) exclude(a, b uint16) bool {
	if a == b {
		return a != 0 || d.onePerClass
	}
	_, excluded := d.excludes[[2]uint16{a, b}]
	return excluded
}

// exclusion decides which sessions a logon on the device excludes: first all sessions are counted, the oldest first, then each is
// asked for, in the same order.
type exclusion struct {
	devices *devicePolicy
	device  uint16
	over    int // how many more than the limit leaves room for
}

func (d *devicePolicy) exclusion(device uint16) exclusion {
	x := exclusion{devices: d, device: device}
	if d.limit > 0 {
		x.over = 1 - d.limit
	}
	return x
}

// pair reports whether the logon excludes a session on the device, whatever its age. same says that the session has the
// logon's token, or is taken over.
func (x *exclusion) pair(device uint16, same bool) bool {
	return same || x.devices.exclude(device, x.device)
}

func (x *exclusion) count(device uint16, same bool) {
	if x.devices.limit > 0 && !x.pair(device, same) {
		x.over++
	}
}

func (x *exclusion) excludes(device uint16, same bool) bool {
	if x.pair(device, same) {
		return true
	}
	if x.over <= 0 {
		return false
	}
	x.over--
	return true
}

// excluded returns the sessions of u, oldest first, that must end before the logon comes in. taken is the session that
// the logon takes over; nil for none. The caller has the user's turn.
func (d *devicePolicy) excluded(u *user, l *Logon, taken *session) []*session {
	same := func(s *session) bool { return s == taken || s.hasToken(l.Token) }
	x := d.exclusion(l.Device)
	for s := range u.all {
		x.count(s.device, same(s))
	}
	var out []*session
	for s := range u.all {
		if x.excludes(s.device, same(s)) {
			out = append(out, s)
		}
	}
	return out
}

// excludedPlaces is excluded for sessions that may be another manager's: it returns their indices.
func (d *devicePolicy) excludedPlaces(device uint16, places []seam.Place) []int {
	x := d.exclusion(device)
	for _, p := range places {
		x.count(p.Device, p.Same)
	}
	var out []int
	for i, p := range places {
		if x.excludes(p.Device, p.Same) {
			out = append(out, i)
		}
	}
	return out
}

// digest is the same for the same rules by which sessions exclude each other.
func (d *devicePolicy) digest() string {
	pairs := slices.SortedFunc(maps.Keys(d.excludes), func(a, b [2]uint16) int { return slices.Compare(a[:], b[:]) })
	return fmt.Sprint(d.limit, d.onePerClass, pairs)
}

// policy returns what a cluster's node needs of the manager's policy.
func (m *Manager) policy() seam.Policy {
	return seam.Policy{
		IgnoreNew: m.relogon == IgnoreNew, Several: m.devices.limit != 1, ReturnWins: m.returnWins, Excluded: m.devices.excludedPlaces,
		Digest: fmt.Sprint(m.relogon, m.devices.digest()),
	}
}
