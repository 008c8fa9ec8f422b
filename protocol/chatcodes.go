package protocol

// Codes with which package chat refuses requests. docs/chat.md says when.
const (
	// NoSuchGroup: the group does not exist, or was dissolved.
	NoSuchGroup CloseCode = 5100
	// NotMember: the user is not a member of the group.
	NotMember CloseCode = 5101
	// GroupMuted: only administrators may write in the group now.
	GroupMuted CloseCode = 5102
	// MemberMuted: the member may not write until a time, which Info has as "until-ms".
	MemberMuted CloseCode = 5103
	// Banned: the user may neither write in the group nor join it.
	Banned CloseCode = 5104
	// GroupNoAnonymous: the group takes no anonymous messages.
	GroupNoAnonymous CloseCode = 5105
	// GroupFull: the group has its maximum of members.
	GroupFull CloseCode = 5106
	// NotAdministrator: the request needs an administrator, or the owner.
	NotAdministrator CloseCode = 5107
	// GroupClosed: administrators add members to the group; users cannot join it.
	GroupClosed CloseCode = 5108

	// NoSuchUser: the user does not exist.
	NoSuchUser CloseCode = 5110
	// ReceivingOff: the user takes no messages from users.
	ReceivingOff CloseCode = 5111
	// SendingOff: the sender's own setting.
	SendingOff CloseCode = 5112
	// Blocked: the user has blocked the sender.
	Blocked CloseCode = 5113
	// UserNoAnonymous: the user takes no anonymous messages.
	UserNoAnonymous CloseCode = 5114
	// NotFriends: the two are not friends.
	NotFriends CloseCode = 5115
	// RequestsOff: the user takes no requests to be friends.
	RequestsOff CloseCode = 5116
	// AlreadyFriends: the two are friends, or one has asked already.
	AlreadyFriends CloseCode = 5117

	// NoSuchMessage: the conversation has no such message.
	NoSuchMessage CloseCode = 5120
	// NotYours: the message is another user's.
	NotYours CloseCode = 5121
	// RecallExpired: it is too late to recall the message.
	RecallExpired CloseCode = 5122
	// Incomplete: the request lacks something, or has what cannot be.
	Incomplete CloseCode = 5123

	// Busy: too many requests wait, or the server is ending; Info says in "retry-ms" when to come back.
	Busy CloseCode = 5130
	// NotStored: the store has failed, and it is not known whether the message is stored. Send it again with the same ID.
	NotStored CloseCode = 5131
)
