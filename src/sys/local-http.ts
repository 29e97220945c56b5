/** One question to an HTTP server on a unix socket: bounded in time and in size, and it never throws. */
import { request } from 'node:http'
import { afterFreeTime } from './free-time.ts'

export interface SocketAnswer {
  readonly status: number
  readonly body: string
}

/** What answers may take together while they come: whoever has many sockets may answer on all of them at a time. */
export class AnswerRoom {
  #left: number

  /** @param bytes by default 32 MiB: a dump of all goroutines of a busy daemon is some megabytes */
  constructor(bytes = 32 * 1024 * 1024) {
    this.#left = bytes
  }

  /** @returns false if there is no room for so much */
  take(bytes: number): boolean {
    if (bytes > this.#left) return false
    this.#left -= bytes
    return true
  }

  give(bytes: number): void {
    this.#left += bytes
  }
}

/** @returns undefined if nobody answers in that time, or with more than there is room for */
export function askSocket(
  socketPath: string,
  path: string,
  timeoutMs: number,
  room = new AnswerRoom(),
): Promise<SocketAnswer | undefined> {
  return new Promise(resolve => {
    const asked = request({ socketPath, path, headers: { host: 'localhost', connection: 'close' } }, response => {
      const chunks: Buffer[] = []
      let size = 0
      response.on('data', (chunk: Buffer) => {
        if (!room.take(chunk.length)) {
          finish(undefined)
          asked.destroy()
          return
        }
        chunks.push(chunk)
        size += chunk.length
      })
      asked.once('close', () => room.give(size))
      response.on('end', () =>
        finish({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString('utf8') }),
      )
      response.on('error', () => finish(undefined))
    })
    const cancel = afterFreeTime(timeoutMs, () => asked.destroy())
    const finish = (answer: SocketAnswer | undefined) => {
      cancel()
      resolve(answer)
    }
    asked.on('error', () => finish(undefined))
    asked.on('close', () => finish(undefined))
    asked.end()
  })
}
