package protocol_test

import (
	"encoding/binary"

	"github.com/rollcall-go/rollcall/protocol"
)

// rawPresence puts a user of a presence list together, field by field.
func rawPresence(user string, state byte, online, seen int64) string {
	b := append([]byte{byte(len(user))}, user...)
	b = binary.BigEndian.AppendUint64(append(b, state), uint64(online))
	return string(binary.BigEndian.AppendUint64(b, uint64(seen)))
}

func presenceVectors() []vector {
	const ms = pushTimeMS
	ask, told := vectorMessage{Type: protocol.TypePresence, ID: 9}, vectorMessage{Type: protocol.TypePresence}
	reply := ask
	reply.Reply = true
	op := func(name, direction string, m vectorMessage, content string, o operationBody) vector {
		return good("presence: "+name, direction, m, text(content), &body{Op: &o})
	}
	broken := func(name, direction string, m vectorMessage, content string) vector {
		return good("presence: "+name, direction, m, text(content), &body{Error: protocol.InvalidMessage})
	}
	bob := rawPresence("bob", 2, ms, 0)
	none := []presenceBody{}
	return []vector{
		op("busy", toServer, ask, "\x01\x01\x05state\x00\x04busy", operationBody{Op: 1, Fields: map[string]string{"state": "busy"}}),
		op("set", toClient, reply, "\x01\x00", operationBody{Op: 1}),
		op("watch", toServer, ask, "\x02\x00", operationBody{Op: 2}),
		op("watch no more", toServer, ask, "\x02\x01\x02on\x00\x010", operationBody{Op: 2, Fields: map[string]string{"on": "0"}}),
		op("who is visible", toClient, reply, "\x02\x00\x00\x02"+bob+rawPresence("Zo\xc3\xab", 0, ms, ms+1), operationBody{Op: 2, Presences: &[]presenceBody{
			{UserID: "bob", State: 2, LastOnlineMS: ms}, {UserID: "Zoë", LastOnlineMS: ms, LastSeenMS: ms + 1}}}),
		op("nobody is visible", toClient, reply, "\x02\x00\x00\x00", operationBody{Op: 2, Presences: &none}),
		op("a query", toServer, ask, "\x03\x00\x00\x02\x03bob\x05carol", operationBody{Op: 3, IDs: []string{"bob", "carol"}}),
		op("a notice", toClient, told, "\x04\x01\x04name\x00\x07offline\x00\x01"+rawPresence("bob", 1, 0, ms), operationBody{Op: 4,
			Fields: map[string]string{"name": "offline"}, Presences: &[]presenceBody{{UserID: "bob", State: 1, LastSeenMS: ms}}}),
		op("one's own stealth", toClient, told, "\x04\x00\x00\x01"+rawPresence("ann", 3, ms, 0), operationBody{Op: 4,
			Presences: &[]presenceBody{{UserID: "ann", State: 3, LastOnlineMS: ms}}}),
		op("an operation of a later version", toServer, ask, "\xff\x00", operationBody{Op: 255}),
		broken("empty", toServer, ask, ""),
		broken("no fields", toServer, ask, "\x02"),
		broken("fields are cut off", toServer, ask, "\x02\x01\x02on\x00"),
		broken("a query without a list", toServer, ask, "\x03\x00"),
		broken("a list without a count", toClient, reply, "\x02\x00\x00"),
		broken("a list is cut off", toClient, reply, "\x02\x00\x00\x01"+bob[:len(bob)-1]),
		broken("a list with a user less than its count", toClient, reply, "\x02\x00\x00\x02"+bob),
		broken("a list that goes on", toClient, reply, "\x02\x00\x00\x01"+bob+"\x00"),
		broken("a list with an empty ID", toClient, reply, "\x02\x00\x00\x01"+rawPresence("", 0, 0, 0)),
		broken("a list with state 4", toClient, reply, "\x02\x00\x00\x01"+rawPresence("bob", 4, 0, 0)),
	}
}
