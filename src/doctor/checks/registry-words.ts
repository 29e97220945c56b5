/** How findings speak of a registry and of what went wrong there. */
import type { WindlassError } from '../../errors.ts'
import { describeProxies } from '../registry-settings.ts'
import type { RegistryVisit } from '../registry-visit.ts'
import { describeEngine } from './check.ts'

/** `dockerd 12 ← registry.test:5000`. */
export function describeVisit({ engine, host }: RegistryVisit): string {
  return engine === undefined ? host : `${describeEngine(engine)} ← ${host}`
}

/** What happened, and through which proxy. */
export function evidenceOf(error: WindlassError, { proxy, settings }: RegistryVisit): string[] {
  return [error.message, ...(proxy === undefined ? [] : describeProxies(settings))]
}

/** Nothing came in time: the one kind of failure that a path which drops large packets makes. */
export function isSilence({ code, message, facts }: WindlassError): boolean {
  return (
    code === 'STALLED' ||
    (code === 'NETWORK' && (/ in time/.test(message) || facts['cause'] === 'UND_ERR_CONNECT_TIMEOUT'))
  )
}

export function formatMs(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`
}
