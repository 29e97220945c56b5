/** One question to an HTTP server on a unix socket: bounded in time and in size, and it never throws. */
import { request } from 'node:http'
import { afterFreeTime } from './free-time.ts'

export interface SocketAnswer {
  readonly status: number
  readonly body: string
}

/** A dump of all goroutines of a busy daemon is some megabytes. */
const bodyMax = 32 * 1024 * 1024

/** @returns undefined if nobody answers in that time, or with more than 32 MiB */
export function askSocket(socketPath: string, path: string, timeoutMs: number): Promise<SocketAnswer | undefined> {
  return new Promise(resolve => {
    const asked = request({ socketPath, path, headers: { host: 'localhost', connection: 'close' } }, response => {
      const chunks: Buffer[] = []
      let size = 0
      response.on('data', (chunk: Buffer) => {
        chunks.push(chunk)
        size += chunk.length
        if (size > bodyMax) asked.destroy()
      })
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
