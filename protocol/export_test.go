package protocol

// What the tests look at besides what is exported.
const (
	HeaderLen = headerLen
	LineRoom  = lineRoom
)

var (
	FrameLength    = frameLength
	Printable      = printable
	ValidID        = validID
	CloseCodeNames = closeCodeNames
)
