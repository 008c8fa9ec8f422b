package chatmodel

import (
	"fmt"
	"slices"
	"time"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/internal/chattest"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// What the reference of the model does with contacts and groups.

func (r *reference) changeContact(u *refUser, p *chattest.Peer, o *refUser) {
	mine, theirs := u.contacts[o], o.contacts[u]
	part := func() { mine.state, theirs.state = 0, 0 }
	befriend := func() {
		mine.declined, theirs.declined = false, false
		mine.state, theirs.state = protocol.ContactFriend, protocol.ContactFriend
	}
	switch r.IntN(6) {
	case 0, 1:
		why := first(
			refusal{protocol.Blocked, theirs.blocked || mine.blocked},
			refusal{protocol.AlreadyFriends, mine.state == protocol.ContactFriend || mine.state == protocol.ContactAskedByMe},
			refusal{0, mine.state == protocol.ContactAsksMe || o.settings.Requests == chat.Open},
			refusal{protocol.RequestsOff, o.settings.Requests == chat.Off},
			refusal{protocol.AlreadyFriends, mine.declined},
		)
		r.ask(p, why, protocol.TypeContacts, protocol.ContactRequest, nil, "user", o.id)
		switch {
		case why != 0:
		case mine.state == protocol.ContactAsksMe, o.settings.Requests == chat.Open:
			befriend()
		default:
			part()
			mine.state, theirs.state = protocol.ContactAskedByMe, protocol.ContactAsksMe
		}
	case 2, 3:
		accept := r.IntN(4) > 0
		why := first(refusal{protocol.Refused, mine.state != protocol.ContactAsksMe})
		r.ask(p, why, protocol.TypeContacts, protocol.ContactAnswer, nil, "user", o.id, "accept", bit(accept))
		switch {
		case why != 0:
		case accept:
			befriend()
		default:
			part()
			theirs.declined = true
		}
	case 4:
		r.ask(p, 0, protocol.TypeContacts, protocol.ContactRemove, nil, "user", o.id)
		if asks := mine.state == protocol.ContactAsksMe; mine.state != 0 {
			part()
			theirs.declined = theirs.declined || asks
		}
	default:
		on := r.IntN(3) == 0
		r.ask(p, 0, protocol.TypeContacts, protocol.ContactBlock, nil, "user", o.id, "on", bit(on))
		if on && !mine.blocked {
			part()
		}
		mine.blocked = on
	}
}

func (r *reference) changeGroup(u *refUser, p *chattest.Peer, g *refGroup) {
	o := r.other(u)
	ask := func(why protocol.CloseCode, op uint8, content []byte, fields ...string) protocol.Operation {
		return r.ask(p, why, protocol.TypeGroup, op, content, append([]string{"group", g.id}, fields...)...)
	}
	role, in := g.members[u]
	theirs, member := g.members[o]
	none := refusal{protocol.NoSuchGroup, g.dissolved}
	administrates := []refusal{none, {protocol.NotMember, !in}, {protocol.NotAdministrator, role < protocol.RoleAdministrator}}
	touches := append(slices.Clone(administrates), refusal{protocol.NotAdministrator, member && theirs >= role})
	owns := []refusal{none, {protocol.NotMember, !in}, {protocol.NotAdministrator, role != protocol.RoleOwner}}
	enter := func(v *refUser) { g.members[v] = protocol.RoleMember }
	switch r.IntN(12) {
	case 0, 1, 2:
		why := first(none, refusal{0, in}, refusal{protocol.Banned, g.banned[u]}, refusal{protocol.GroupClosed, !g.open}, refusal{protocol.GroupFull, len(g.members) >= g.max})
		reply := ask(why, protocol.GroupJoin, nil)
		if why != 0 {
			return
		}
		var want []string
		for seq := max(0, len(g.messages)-4) + 1; seq <= len(g.messages); seq++ {
			want = append(want, g.line(seq))
		}
		if got := chattest.Lines(testkit.Must(protocol.ParseStoredMessages(reply.Content))); !slices.Equal(got, want) || reply.Fields["last"] != fmt.Sprint(len(g.messages)) {
			r.t.Fatalf("rule P30: Join is answered %v, %q, not %q", reply.Fields, got, want)
		}
		if !in {
			enter(u)
		}
	case 3:
		why := first(none, refusal{protocol.NotMember, !in}, refusal{protocol.Refused, role == protocol.RoleOwner})
		if ask(why, protocol.GroupLeave, nil); why == 0 {
			delete(g.members, u)
		}
	case 4:
		hours, until := 0, "0"
		if r.IntN(2) == 0 {
			hours = r.hours + 1 + r.IntN(3)
			until = fmt.Sprint(r.clock.now().Add(time.Duration(hours-r.hours)*hour - hour/2).UnixMilli())
		}
		why := first(append(touches, refusal{protocol.NotMember, !member})...)
		if ask(why, protocol.GroupMute, nil, "user", o.id, "until-ms", until); why == 0 {
			g.silenced[o] = hours
		}
	case 5, 6:
		on, remove := r.IntN(3) == 0, r.IntN(2) == 0
		why := first(touches...)
		if ask(why, protocol.GroupBan, nil, "user", o.id, "on", bit(on), "remove", bit(remove)); why == 0 {
			g.banned[o] = on
			if on && remove {
				delete(g.members, o)
			}
		}
	case 7:
		to := protocol.GroupRole(r.IntN(3))
		why := first(append(owns, refusal{protocol.NotMember, !member})...)
		if ask(why, protocol.GroupSetRole, nil, "user", o.id, "role", fmt.Sprint(uint8(to))); why == 0 {
			if g.members[o] = to; to == protocol.RoleOwner {
				g.members[u] = protocol.RoleAdministrator
			}
		}
	case 8:
		why := first(append(touches, refusal{protocol.NotMember, !member})...)
		if member && theirs >= role && in && role >= protocol.RoleAdministrator {
			why = protocol.NotAdministrator
		}
		if ask(why, protocol.GroupRemove, chattest.IDs(o.id)); why == 0 {
			delete(g.members, o)
		}
	case 9, 10:
		why := first(append(administrates, refusal{0, member}, refusal{protocol.NotFriends, u.contacts[o].state != protocol.ContactFriend},
			refusal{protocol.Banned, g.banned[o]}, refusal{protocol.GroupFull, len(g.members) >= g.max})...)
		if ask(why, protocol.GroupAdd, chattest.IDs(o.id)); why == 0 && !member {
			enter(o)
		}
	default:
		if r.IntN(12) == 0 {
			if why := first(owns...); true {
				if ask(why, protocol.GroupDissolve, nil); why == 0 {
					g.dissolved, g.members = true, nil
				}
			}
			return
		}
		muted, anonymous, open := r.IntN(4) == 0, r.IntN(2) == 0, r.IntN(4) > 0
		why := first(administrates...)
		if ask(why, protocol.GroupChange, nil, "muted", bit(muted), "anonymous", bit(anonymous), "open", bit(open)); why == 0 {
			g.muted, g.takesAnonymous, g.open = muted, anonymous, open
		}
	}
}
