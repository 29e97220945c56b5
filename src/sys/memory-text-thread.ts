/** The thread behind `MemoryReader`: it reads one file after the other, and may be left behind in any of them. */
import { closeSync, openSync, readlinkSync, readSync } from 'node:fs'
import { basename } from 'node:path'
import { workerData } from 'node:worker_threads'
import { headBytes, lengthAt, memoryTextMax, stateAt, states, threadAt } from './memory-text.ts'

const shared = workerData as SharedArrayBuffer
const words = new Int32Array(shared, 0, headBytes / 4)
const bytes = Buffer.from(shared, headBytes)
words[threadAt] = Number(basename(readlinkSync('/proc/thread-self')))
say(states.idle)
for (;;) {
  for (let state = Atomics.load(words, stateAt); state !== states.asked; state = Atomics.load(words, stateAt))
    Atomics.wait(words, stateAt, state)
  say(answer(bytes.toString('utf8', 0, words[lengthAt])))
}

function answer(path: string): number {
  try {
    words[lengthAt] = read(path)
    return states.answered
  } catch (error) {
    words[lengthAt] = bytes.write((error as NodeJS.ErrnoException).code ?? 'EIO')
    return states.refused
  }
}

function read(path: string): number {
  const fd = openSync(path, 'r')
  try {
    let length = 0
    for (let read = -1; read !== 0 && length < memoryTextMax; length += read)
      read = readSync(fd, bytes, length, memoryTextMax - length, null)
    return length
  } finally {
    closeSync(fd)
  }
}

function say(state: number): void {
  Atomics.store(words, stateAt, state)
  Atomics.notify(words, stateAt)
}
