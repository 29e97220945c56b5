/** The rescue as a service of systemd. */
import { WindlassError } from '../../errors.ts'
import { quote } from '../../oci/quote.ts'
import type { FileChange } from './file-change.ts'

/** Absolute paths. */
interface ServicePaths {
  /** windlass itself. */
  readonly program: string
  /** The store, where its journals are. */
  readonly root: string
  /** The file in which it keeps its counts, if it is to. */
  readonly metrics?: string | undefined
}

/** @throws WindlassError UNSUPPORTED for a path that systemd does not take */
export function planService({ program, root, metrics }: ServicePaths): FileChange {
  const counted = metrics === undefined ? '' : ` --metrics ${argument(metrics)}`
  const lines = [
    '# Made by windlass.',
    '[Unit]',
    'Description=windlass: bring container image pulls that hang to their end',
    'After=docker.service containerd.service',
    '',
    '[Service]',
    `ExecStart=${executable(program)} --root ${argument(root)} doctor --watch --rescue --yes${counted}`,
    'Restart=always',
    'RestartSec=10',
    '# A rescue that is broken off is finished by the process that writes for it.',
    'KillMode=process',
    '',
    '[Install]',
    'WantedBy=multi-user.target',
    '',
  ]
  return {
    path: '/etc/systemd/system/windlass-rescue.service',
    before: undefined,
    after: lines.join('\n'),
    mode: 0o644,
  }
}

/** systemd.service(5), "Command lines": variables are put into arguments, not into the path of the program, in which systemd allows no quotes and no backslash. */
function executable(path: string): string {
  return withEscapes(path, /["'\\]/)
}

function argument(path: string): string {
  return withEscapes(path).replaceAll('$', '$$$$')
}

/** No words, quotes, escapes or specifiers (systemd.unit(5)) of systemd's are in it then. */
function withEscapes(path: string, refused?: RegExp): string {
  if (/\p{Cc}/u.test(path) || refused?.test(path) === true)
    throw new WindlassError(
      'UNSUPPORTED',
      `Cannot install the service: systemd does not take the path ${quote(path)}`,
      {
        hint: 'use one without quotes, backslashes and control characters',
      },
    )
  return path
    .replaceAll('%', '%%')
    .replace(/["'\\ ]/g, character => `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`)
}
