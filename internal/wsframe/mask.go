package wsframe

import (
	"encoding/binary"
	"math/bits"
)

// unmask writes src, unmasked, to dst, which has the same length and may overlap src where it begins no later. It
// returns the mask for the byte behind src.
func unmask(dst, src []byte, mask uint32) uint32 {
	if mask == 0 {
		copy(dst, src)
		return 0
	}
	next := bits.RotateLeft32(mask, -8*(len(src)%maskSize))
	word := uint64(mask)<<32 | uint64(mask)
	if len(src) < 8 {
		for i, b := range src {
			dst[i] = b ^ byte(mask>>(8*(i%maskSize)))
		}
		return next
	}
	// The last eight bytes are read first and written last: they may lie over some that are written before them.
	end := dst[len(src)-8 : len(src)]
	last := binary.LittleEndian.Uint64(src[len(src)-8:]) ^ bits.RotateLeft64(word, -8*(len(src)%maskSize))
	if blocks := len(src) &^ 63; blocks >= 256 {
		unmaskBlocks(dst[:blocks], src[:blocks], word)
		dst, src = dst[blocks:], src[blocks:]
	}
	for len(src) > 8 && len(dst) > 8 {
		binary.LittleEndian.PutUint64(dst, binary.LittleEndian.Uint64(src)^word)
		dst, src = dst[8:], src[8:]
	}
	binary.LittleEndian.PutUint64(end, last)
	return next
}
