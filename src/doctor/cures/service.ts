/** The rescue as a service of systemd. */
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

export function planService({ program, root, metrics }: ServicePaths): FileChange {
  const counted = metrics === undefined ? '' : ` --metrics ${quote(metrics)}`
  const lines = [
    '# Made by windlass.',
    '[Unit]',
    'Description=windlass: bring container image pulls that hang to their end',
    'After=docker.service containerd.service',
    '',
    '[Service]',
    `ExecStart=${quote(program)} --root ${quote(root)} doctor --watch --rescue --yes${counted}`,
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

function quote(path: string): string {
  return path.replace(/[%$"\\ ]/g, character =>
    character === '%' || character === '$' ? character + character : `\\x${character.charCodeAt(0).toString(16)}`,
  )
}
