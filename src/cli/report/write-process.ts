/**
 * Writes a report's file. A process of its own: a task that sits in a call of a disk that hangs keeps its whole process from ending, and
 * libuv's pool may be full of such calls already. It ends with its stdin.
 */
import { randomBytes } from 'node:crypto'
import { renameSync, rmSync, writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline'

/** What the process is told in a line of JSON: one file to write. */
export interface WriteOrder {
  readonly id: number
  readonly path: string
  readonly text: string
}

/** What it answers in a line of JSON, in the order of the orders. */
export interface WriteAnswer {
  readonly id: number
  readonly failure?: { readonly code?: string | undefined; readonly message: string } | undefined
}

/** Not synced: a report that is in the kernel's hands is there for who reads it, and a sync may be the very thing that hangs. */
function write({ path, text }: WriteOrder): WriteAnswer['failure'] {
  const part = `${path}.${randomBytes(6).toString('hex')}.part`
  try {
    writeFileSync(part, text, { flag: 'wx' })
    renameSync(part, path)
    return undefined
  } catch (error) {
    rmSync(part, { force: true })
    const { code, message } = error as NodeJS.ErrnoException
    return { code, message }
  }
}

for await (const line of createInterface({ input: process.stdin, crlfDelay: Number.POSITIVE_INFINITY })) {
  const order = JSON.parse(line) as WriteOrder
  process.stdout.write(`${JSON.stringify({ id: order.id, failure: write(order) } satisfies WriteAnswer)}\n`)
}
