//go:build race

package usermgr_test

func init() { stepsInAll /= 32 } // it takes eight times as long
