/** Why a program that an engine names is not run here: it would have the rights of who looks, and anybody may have put it there. */
import { findScriptFiles } from '../codec/external/script-files.ts'
import type { HostView } from '../sys/host-view.ts'
import type { Stranger } from '../sys/own-path.ts'
import { type FoundEngine, isOfHost } from './engines.ts'

/** @returns undefined if the engine is of the host, by root or us, and so is the program with all that leads to it */
export async function refuseToRun(host: HostView, engine: FoundEngine, path: string): Promise<string | undefined> {
  if (!(await isOfHost(host, engine.process.pid)))
    return 'it was not run with our rights: the engine is neither of root nor our own, or has a root or namespaces of its own'
  return await refuseProgram(host, path)
}

/** @returns undefined if the program, its interpreter, what it names as a script, and all that leads to these is root's or our own, and nobody else may change it */
export async function refuseProgram(host: HostView, path: string): Promise<string | undefined> {
  // Only what is nobody else's is opened.
  const refusal = await refusePlace(host, path)
  if (refusal !== undefined) return refusal
  const [, interpreter] = /^#!\s*(\S+)/.exec((await host.disk.text(path)) ?? '') ?? []
  if (interpreter === undefined) return undefined
  const named = [interpreter, ...(await findScriptFiles(path))]
  for (const place of named) {
    const refusal = await refusePlace(host, place)
    if (refusal !== undefined) return refusal
  }
  return undefined
}

/** Also of a program that a script has not run on its host, for this reason or another. */
export function describeUnseen(path: string): string {
  return `it was not run with our rights: whose ${path} is could not be seen`
}

async function refusePlace(host: HostView, path: string): Promise<string | undefined> {
  const stranger = await host.disk.strangerAt?.(path)
  if (stranger === 'nobody') return undefined
  if (stranger === undefined) return describeUnseen(path)
  return describeStranger(stranger)
}

export function describeStranger({ place, uid, isOpen }: Stranger): string {
  return isOpen
    ? `it was not run with our rights: others may write to ${place}`
    : `it was not run with our rights: ${place} belongs to user ${uid}`
}
