package usermgr

import (
	"fmt"
	"slices"
)

// Devices says which sessions of one user may live side by side. The zero value allows one session for each user.
//
// A logon excludes the sessions that may not live beside its own. It always excludes a session with the same token, because the same
// token twice is one session, and the session that it takes over by its ID. RelogonMode decides what happens: ReplaceOld ends the
// excluded sessions, the oldest first; IgnoreNew refuses the logon, unless the only excluded session is the one that it takes over.
type Devices struct {
	// MaxSessions limits the sessions of a user. A logon over the limit excludes the oldest session. 0 means 16 where sessions on
	// several device classes may live side by side, and 1 otherwise; negative means no limit. Clients choose their device class,
	// so without a limit a user may have as many sessions as there are classes: 65,536.
	MaxSessions int
	// Known lists the device classes that may log on; include 0 if clients may leave their class unspecified. A logon on another
	// class is refused with DeviceNotAllowed, without an event. Empty means any class.
	Known []uint16

	perDevice bool
	shared    bool // sessions on device 0 count towards MaxSessions alone
	excludes  map[[2]uint16]struct{}
}

// defaultSessions is the default of MaxSessions where a user may have several device classes.
const defaultSessions = 16

// OnePerDevice allows one session for each device class, up to MaxSessions. Class 0, unspecified, counts as a class.
func OnePerDevice() Devices { return Devices{perDevice: true} }

// UpTo allows n sessions in all: one for each device class, and any number on class 0, unspecified. A logon over n excludes the oldest
// session. UpTo panics when n is less than 1.
func UpTo(n int) Devices {
	if n < 1 {
		panic(fmt.Sprintf("rollcall: UpTo(%d): a user needs room for one session", n))
	}
	return Devices{perDevice: true, shared: true, MaxSessions: n}
}

// Exclusive allows one session for each device class, up to MaxSessions, except that the two classes of a pair exclude each other: with
// {phone, tablet} a logon on a phone ends the session on a tablet, and the other way round.
func Exclusive(pairs ...[2]uint16) Devices {
	d := Devices{perDevice: true, excludes: make(map[[2]uint16]struct{}, 2*len(pairs))}
	for _, p := range pairs {
		d.excludes[p] = struct{}{}
		d.excludes[[2]uint16{p[1], p[0]}] = struct{}{}
	}
	return d
}

// clone returns a copy that shares no slice or map with d.
func (d Devices) clone() Devices {
	d.Known = slices.Clone(d.Known)
	return d
}

// knows reports whether a logon may have this device class.
func (d *Devices) knows(device uint16) bool {
	return len(d.Known) == 0 || slices.Contains(d.Known, device)
}

// named returns the device classes that the application has named.
func (d *Devices) named() []uint16 {
	if len(d.Known) > 0 {
		return d.Known
	}
	classes := []uint16{0}
	for pair := range d.excludes { // each pair is in it in both directions
		classes = append(classes, pair[0])
	}
	return classes
}

// limit is how many sessions a user may have; 0 or less for any number.
func (d *Devices) limit() int {
	switch {
	case d.MaxSessions != 0:
		return d.MaxSessions
	case d.perDevice:
		return defaultSessions
	}
	return 1
}

// exclude reports whether sessions on the two devices may not live side by side.
func (d *Devices) exclude(a, b uint16) bool {
	if !d.perDevice {
		return d.limit() == 1
	}
	if a == b {
		return a != 0 || !d.shared
	}
	_, excluded := d.excludes[[2]uint16{a, b}]
	return excluded
}

// excluded returns the sessions of u, oldest first, that must end before the logon comes in. taken is the session that
// the logon takes over; nil for none. The caller has the user's turn.
func (d *Devices) excluded(u *user, l *Logon, taken *session) []*session {
	excludes := func(s *session) bool { return s == taken || d.exclude(s.device, l.Device) || s.hasToken(l.Token) }
	var out []*session
	over := 0
	if limit := d.limit(); limit > 0 {
		over = 1 - limit
		for s := range u.all {
			if !excludes(s) {
				over++
			}
		}
	}
	for s := range u.all {
		switch {
		case excludes(s):
			out = append(out, s)
		case over > 0:
			over--
			out = append(out, s)
		}
	}
	return out
}
