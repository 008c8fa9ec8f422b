package usermgr

import "fmt"

// Devices says which sessions of one user may live side by side. The zero value allows one session a user. In each
// policy a logon that has a live session's token, or names its ID to take it over, excludes that session too: the same
// token twice is one session.
//
// What happens to sessions that a logon excludes is the RelogonMode's: ReplaceOld ends them, the oldest first; IgnoreNew
// refuses the logon, unless the only one that it excludes is the one that it takes over.
type Devices struct {
	perDevice bool
	max       int // sessions of a user; 0 for any number
	excludes  map[[2]uint16]struct{}
}

// OnePerDevice allows one session for each device class, whatever their number. 0, unspecified, counts as a class.
func OnePerDevice() Devices { return Devices{perDevice: true} }

// UpTo allows n sessions, one for each device class; sessions whose device is unspecified (0) count towards n alone. A
// logon over the number excludes the oldest session. UpTo panics when n is less than 1.
func UpTo(n int) Devices {
	if n < 1 {
		panic(fmt.Sprintf("rollcall: UpTo(%d): a user needs room for one session", n))
	}
	return Devices{perDevice: true, max: n}
}

// Exclusive allows one session for each device class, except that the two classes of a pair exclude each other: with
// {phone, tablet} a logon on a phone ends the session on a tablet, and the other way round.
func Exclusive(pairs ...[2]uint16) Devices {
	d := Devices{perDevice: true, excludes: make(map[[2]uint16]struct{}, 2*len(pairs))}
	for _, p := range pairs {
		d.excludes[p] = struct{}{}
		d.excludes[[2]uint16{p[1], p[0]}] = struct{}{}
	}
	return d
}

// exclude reports whether sessions on the two devices may not live side by side.
func (d *Devices) exclude(a, b uint16) bool {
	if !d.perDevice {
		return true
	}
	if a == b {
		return a != 0 || d.max == 0
	}
	_, excluded := d.excludes[[2]uint16{a, b}]
	return excluded
}

// excluded returns the sessions, of those that live, oldest first, that must end before the logon comes in. It takes over the
// session taken; nil for none.
func (d *Devices) excluded(live []*session, l *Logon, taken *session) []*session {
	excludes := func(s *session) bool { return s == taken || d.exclude(s.device, l.Device) || s.hasToken(l.Token) }
	var out []*session
	over := 0
	if d.max > 0 {
		over = 1 - d.max
		for _, s := range live {
			if !excludes(s) {
				over++
			}
		}
	}
	for _, s := range live {
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
