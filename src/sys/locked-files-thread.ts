/** The thread behind `LockedFiles`: it answers one question after the other, and may be left behind in any of them. */
import { closeSync, constants, openSync, readdirSync, readlinkSync, readSync } from 'node:fs'
import { basename } from 'node:path'
import { workerData } from 'node:worker_threads'
import {
  answerHeadBytes,
  answersMax,
  doneAt,
  headBytes,
  lengthAt,
  type Question,
  stateAt,
  states,
  threadAt,
} from './locked-files.ts'
import { openForeignPipe } from './open-foreign-pipe.ts'

/** An answer begins only where so much fits; nearly all are shorter. */
const roomMin = answersMax / 2

const shared = workerData as SharedArrayBuffer
const words = new Int32Array(shared, 0, headBytes / 4)
const bytes = Buffer.from(shared, headBytes)
words[threadAt] = Number(basename(readlinkSync('/proc/thread-self')))
say(states.idle)
for (;;) {
  for (let state = Atomics.load(words, stateAt); state !== states.asked; state = Atomics.load(words, stateAt))
    Atomics.wait(words, stateAt, state)
  answerAll(JSON.parse(bytes.toString('utf8', 0, words[lengthAt])))
  say(states.answered)
}

/** Those that do not fit are asked again. */
function answerAll(questions: readonly Question[]): void {
  let at = 0
  for (const [done, question] of questions.entries()) {
    if (done > 0 && answersMax - at < roomMin) break
    const start = at + answerHeadBytes
    const { length, isRefused } = answer(question, start)
    bytes.writeInt32LE(isRefused ? 1 : 0, at)
    bytes.writeInt32LE(length, at + 4)
    at = start + length
    Atomics.store(words, doneAt, done + 1)
  }
}

function answer(question: Question, at: number): { readonly length: number; readonly isRefused: boolean } {
  try {
    return { length: tell(question, at), isRefused: false }
  } catch (error) {
    return { length: bytes.write((error as NodeJS.ErrnoException).code ?? 'EIO', at), isRefused: true }
  }
}

/** @returns the length of the answer, which stands there now */
function tell([kind, path]: Question, at: number): number {
  if (kind === 'text') return read(path, at)
  if (kind === 'link') return bytes.write(readlinkSync(path), at)
  if (kind === 'names') return bytes.write(readdirSync(path).join('\n'), at)
  return bytes.write(String(openForeignPipe(path, constants.O_RDONLY | constants.O_NONBLOCK)), at)
}

function read(path: string, at: number): number {
  const fd = openSync(path, 'r')
  try {
    let length = 0
    for (let read = -1; read !== 0 && at + length < answersMax; length += read)
      read = readSync(fd, bytes, at + length, answersMax - at - length, null)
    return length
  } finally {
    closeSync(fd)
  }
}

function say(state: number): void {
  Atomics.store(words, stateAt, state)
  Atomics.notify(words, stateAt)
}
