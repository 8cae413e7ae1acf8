// Goroutines and channels, child processes, signals, and threads that end: a goroutine that ends while locked to its
// thread takes that thread with it, and Go gives the thread's stack to somebody else before the thread is gone.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"
)

func channels() {
	numbers, squares := make(chan int), make(chan int, 4)
	var workers sync.WaitGroup
	for w := 0; w < 8; w++ {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for n := range numbers {
				squares <- n * n
			}
		}()
	}
	go func() {
		for i := 1; i <= 1000; i++ {
			numbers <- i
		}
		close(numbers)
		workers.Wait()
		close(squares)
	}()
	sum := 0
	for s := range squares {
		sum += s
	}
	fmt.Println("sum of squares:", sum)
}

func child() {
	command := exec.Command(os.Args[0], "child", "word")
	out, err := command.Output()
	code := command.ProcessState.ExitCode()
	fmt.Printf("child: %q %v %d\n", out, err != nil, code)
}

func signals() {
	notes := make(chan os.Signal, 1)
	signal.Notify(notes, syscall.SIGUSR1)
	for i := 0; i < 5; i++ {
		syscall.Kill(os.Getpid(), syscall.SIGUSR1)
		select {
		case s := <-notes:
			fmt.Println("signal:", s)
		case <-time.After(20 * time.Second):
			fmt.Println("signal: none came")
		}
	}
}

func ends() {
	// What is on the stacks that are handed on must stay what it was.
	total := 0
	var lock sync.Mutex
	for round := 0; round < 20; round++ {
		var ending sync.WaitGroup
		for i := 0; i < 8; i++ {
			ending.Add(1)
			go func(seed int) {
				defer ending.Done()
				runtime.LockOSThread() // and never unlocked
				var words [512]int
				for at := range words {
					words[at] = seed + at
				}
				runtime.Gosched()
				sum := 0
				for _, word := range words {
					sum += word
				}
				lock.Lock()
				total += sum
				lock.Unlock()
			}(round*8 + i)
		}
		ending.Wait()
	}
	fmt.Println("threads ended, checksum:", total)
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "child" {
		fmt.Print(os.Args[2], " from ", runtime.GOOS)
		os.Exit(3)
	}
	channels()
	child()
	signals()
	ends()
	fmt.Println("ok")
}
